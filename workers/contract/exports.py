"""Export formats: their descriptions, the base models that they refuse, and commands to serve them.

A new format is an ``ExportKind`` in ``KINDS`` and a module of ``workers/engine/export`` in its list
``EXPORTERS``. torch is not imported, so the web application uses the kinds too.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from workers.contract.base_models import gguf

CPU_CORES: Final = 1  # of an export's process
Rule = Callable[[Mapping[str, Any], Mapping[str, Any] | None], str | None]


def accept_all(config: Mapping[str, Any], tokenizer: Mapping[str, Any] | None) -> None:
    """Rule of a format for every architecture and tokenizer."""


@dataclass(frozen=True)
class ExportKind:
    """An export format. ``rule`` returns the reason for refusing a base model, or None.

    ``commands`` serve an export in a shell: ``{enter}`` changes into its folder, ``{folder}`` is its path and
    ``{name}`` the name of the model in requests. They load ``base_file``, the untuned base, if there is one.
    ``base_hint`` tells how to get it if the export has none; ``{base}`` is the base model.
    """

    id: str
    label: str
    about: str
    commands: tuple[str, ...]
    rule: Rule = accept_all
    base_file: str = ""
    base_hint: str = ""

    def find_refusal(self, config: Mapping[str, Any], tokenizer: Mapping[str, Any] | None) -> str | None:
        """Return why a base with such a config.json and tokenizer.json is refused; None if it is not."""
        if "quantization_config" in config:
            return "The base model's weights are quantised, so an adapter cannot be merged or mapped exactly."
        return self.rule(config, tokenizer)

    def format_commands(self, name: str, folder: str = "") -> list[str]:
        """Return shell commands that serve the model as ``name``; without ``folder`` they run in it."""
        quoted = shlex.quote(folder)
        values = {
            "name": shlex.quote(name),
            "folder": f"./{quoted}" if folder else ".",
            "enter": f"cd {quoted} && " if folder else "",
        }
        return [command.format(**values) for command in self.commands]


OLLAMA: Final = "{enter}ollama create tuned -f Modelfile && ollama run tuned"

MERGED: Final = ExportKind(
    "merged",
    "Merged safetensors",
    "Base and adapter in one folder, for vLLM and transformers.",
    commands=("vllm serve {folder} --served-model-name {name}",),
)
GGUF: Final = ExportKind(
    "gguf",
    "Merged GGUF",
    "Base and adapter in one file with an Ollama Modelfile, for llama.cpp and Ollama; not quantised.",
    commands=("{enter}llama-server -m model.gguf", OLLAMA),
    rule=gguf.find_model_refusal,
)
GGUF_ADAPTER: Final = ExportKind(
    "gguf-adapter",
    "GGUF adapter",
    "The adapter in its own file, with the base if Groove can write it as GGUF, and an Ollama Modelfile.",
    commands=("{enter}llama-server -m base.gguf --lora adapter.gguf", OLLAMA),
    rule=gguf.find_adapter_refusal,
    base_file="base.gguf",
    base_hint="First put a GGUF of {base} into it, as base.gguf: llama.cpp's convert_hf_to_gguf.py makes "
    "one.",
)

KINDS: Final = {kind.id: kind for kind in (MERGED, GGUF, GGUF_ADAPTER)}
"""All formats by id, in the order of pages. URLs, database and folders contain the ids."""


def read_base(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Read ``config.json`` and ``tokenizer.json`` of a model's folder. Raises OSError or ValueError."""
    config: Mapping[str, Any] = json.loads((folder / "config.json").read_text())
    file = folder / "tokenizer.json"
    return config, json.loads(file.read_text()) if file.exists() else None
