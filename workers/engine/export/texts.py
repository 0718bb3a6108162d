"""How to use an export: an Ollama Modelfile, commands, a README."""

from __future__ import annotations

import json
import shlex

from workers.contract.exports import LABELS, Kind
from workers.engine.export.checking import Verification
from workers.engine.export.ollama import translate
from workers.engine.export.source import Source

UNTRANSLATED = """\
# TEMPLATE: Groove cannot translate this chat template. Write it in Ollama's language from the
# model's tokenizer.chat_template, and compare a rendered prompt with the original.
"""


def modelfile(source: Source, kind: Kind) -> str:
    """For ``ollama create``. A template is translated only if it renders a whole dialogue to the letter."""
    if kind == "gguf":
        head = "FROM ./model.gguf\n"
    else:
        base = source.model.peft_config["default"].base_model_name_or_path
        head = f"# FROM: a GGUF of {base}, in the very version that was tuned\nFROM ./base.gguf\n"
        head += "ADAPTER ./adapter.gguf\n"
    translation = translate(source.renderer)
    grpo = source.settings.get("settings", {}).get("grpo", {})
    lines = [f'TEMPLATE """{translation.template}"""\n' if translation else UNTRANSLATED]
    if translation and translation.system:
        lines.append(f'SYSTEM """{translation.system}"""\n')
    if source.tokenizer.eos_token:
        lines.append(f"PARAMETER stop {json.dumps(source.tokenizer.eos_token, ensure_ascii=False)}\n")
    lines.append(f"PARAMETER temperature {grpo.get('temperature', 1.0)}\n")
    return head + "".join(lines)


def commands(kind: Kind, name: str) -> str:
    """Shell commands to run in the export's folder."""
    served = shlex.quote(name)
    return {
        "merged": f"vllm serve . --served-model-name {served}",
        "gguf": "llama-server -m model.gguf\nollama create tuned -f Modelfile && ollama run tuned",
        "gguf-adapter": "llama-server -m base.gguf --lora adapter.gguf\n"
        "ollama create tuned -f Modelfile && ollama run tuned",
    }[kind]


def readme(source: Source, kind: Kind, verification: Verification) -> str:
    name = source.settings.get("model_name") or "tuned"
    return README.format(
        title=LABELS[kind],
        name=name,
        commands=commands(kind, name),
        dtype=source.stored.dtype,
        **verification,
    )


README = """# {name}: {title}

Precision: {dtype}. Run in this folder:

```sh
{commands}
```

Checked before it was kept: {how}; {tensors} tensors are bit for bit what was written, and on {tokens} tokens
the largest difference of a log-probability from {against} is {difference:.2g} (allowed: {tolerance}).
"""
