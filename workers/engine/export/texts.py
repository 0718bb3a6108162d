"""Instructions in an export: an Ollama Modelfile and a README."""

from __future__ import annotations

import json
from pathlib import Path

from workers.contract.exports import ExportKind
from workers.engine.export.checking import Verification
from workers.engine.export.ollama import translate
from workers.engine.export.source import Source

UNTRANSLATED = """\
# TEMPLATE: Groove cannot translate this chat template. Write it in Ollama's language from the
# model's tokenizer.chat_template, and compare a rendered prompt with the original.
"""


def write_modelfile(source: Source, head: str, folder: Path) -> None:
    """Write the file for ``ollama create``; ``head`` names the files.

    The chat template is included only if its translation is exact.
    """
    translation = translate(source.renderer)
    grpo = source.settings.get("settings", {}).get("grpo", {})
    lines = [f'TEMPLATE """{translation.template}"""\n' if translation else UNTRANSLATED]
    if translation and translation.system:
        lines.append(f'SYSTEM """{translation.system}"""\n')
    if source.tokenizer.eos_token:
        lines.append(f"PARAMETER stop {json.dumps(source.tokenizer.eos_token, ensure_ascii=False)}\n")
    lines.append(f"PARAMETER temperature {grpo.get('temperature', 1.0)}\n")
    (folder / "Modelfile").write_text(head + "".join(lines))


def write_readme(source: Source, kind: ExportKind, verification: Verification, folder: Path) -> None:
    """Write ``README.md``: commands that serve the export, and how it was checked."""
    name = source.settings.get("model_name") or "tuned"
    text = README.format(
        title=kind.label,
        name=name,
        commands="\n".join(kind.format_commands(name)),
        dtype=source.stored.dtype,
        **verification,
    )
    (folder / "README.md").write_text(text)


README = """# {name}: {title}

Precision: {dtype}. Run in this folder:

```sh
{commands}
```

Checked before it was kept: {how}; {tensors} tensors are bit for bit what was written, and on {tokens} tokens
the largest difference of a log-probability from {against} is {difference:.2g} (allowed: {tolerance}).
"""
