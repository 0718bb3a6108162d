"""``config.json`` and ``generation_config.json`` of a merged model: the base's, with the changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from workers.engine.base_model.tokenizer_files import REMOTE_CODE

CONFIG: Final = "config.json"
GENERATION: Final = "generation_config.json"
DTYPES: Final = ("torch_dtype", "dtype")  # as transformers 4 and 5 write it; 5 reads both


def write_configs(merged: Any, base: Path, folder: Path) -> None:
    """Replace the configs that transformers wrote with the merged weights by the base's.

    They remain only if the base's config describes another class, as for the text part of a vision model.
    """
    config: dict[str, Any] = json.loads((base / CONFIG).read_text())
    if type(merged).__name__ not in (config.get("architectures") or []):
        return
    (folder / CONFIG).write_text(json.dumps(_update(config, merged), indent=2) + "\n")
    if (base / GENERATION).exists():
        shutil.copyfile(base / GENERATION, folder / GENERATION)
    else:
        (folder / GENERATION).unlink(missing_ok=True)


def _update(config: dict[str, Any], merged: Any) -> dict[str, Any]:
    """Set the precision of the merged weights and, if the head was untied, that."""
    config.pop(REMOTE_CODE, None)
    precision = str(merged.dtype).removeprefix("torch.")
    named = [name for name in DTYPES if name in config] or DTYPES[:1]
    config |= dict.fromkeys(named, precision)
    if bool(config.get("tie_word_embeddings", True)) != bool(merged.config.tie_word_embeddings):
        config["tie_word_embeddings"] = merged.config.tie_word_embeddings
    return config
