"""Read a base model's config and tokenizer, if its folder or the hub's cache is on this machine."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

from django.conf import settings

from webapp.registry.models import BaseModel
from workers.contract import memory
from workers.contract.exports import KINDS, read_base

MAX_BYTES = 100_000_000
NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
EXPERTS = {"num_experts", "num_local_experts", "n_routed_experts"}


def find_refusals(base: BaseModel) -> dict[str, str | None] | None:
    """Return why each kind of export is impossible (None if it is possible); None without readable files."""
    folder = _find_folder(base)
    if folder is None:
        return None
    try:
        changed = (folder / "config.json").stat().st_mtime
        return _read_refusals(folder, changed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):  # foreign files
        return None


@lru_cache(maxsize=64)
def _read_refusals(folder: Path, changed: float) -> dict[str, str | None]:
    """Read the files in ``folder``; ``changed`` is only a part of the cache's key."""
    if any(file.stat().st_size > MAX_BYTES for file in folder.glob("*.json")):
        raise ValueError("too large to read for a page")
    config, tokenizer = read_base(folder)
    return {kind.id: kind.find_refusal(config, tokenizer) for kind in KINDS.values()}


def measure_weights(base: BaseModel | None) -> int | None:
    """Return the size of the weight files in bytes; None if no file can be read."""
    folder = _find_folder(base) if base else None
    total = sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder else 0
    return total or None


def read_shape(base: BaseModel, size: int) -> memory.Shape | None:
    """Return the shape for an estimate of memory, with ``size`` bytes a number; None if it is unknown.

    The config of a mixture of experts does not tell enough.
    """
    folder, stored = _find_folder(base), measure_weights(base)
    if folder is None or stored is None:
        return None
    try:
        config = json.loads((folder / "config.json").read_text())
        each = NUMBER_BYTES[config.get("dtype") or config["torch_dtype"]]
        text = config.get("text_config") or config
        if EXPERTS & text.keys():
            return None
        return memory.shape(SimpleNamespace(**text), size, stored // each)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # foreign files
        return None


def _find_folder(base: BaseModel) -> Path | None:
    return base.source.find_folder(settings.BASE_DIR, settings.BASE_MODEL_ROOTS)
