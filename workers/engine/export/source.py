"""Source of an export: base and adapter as peft loads them, and rollouts to compare with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from workers.contract.exports import read_base
from workers.engine.base_model import loading
from workers.engine.base_model.targets import changes_tied, untie
from workers.engine.errors import EngineError
from workers.engine.packaging.verify import StoredRollout, StoredRollouts, completion_logprobs
from workers.engine.prompts.rendering import Renderer

CheckStop = Callable[[], None]
"""Raises ``errors.Stopped`` if the export was stopped."""

PROMPTS = ("Hello!", "What can you do?", "Answer with the number 42 and one sentence.")
NEW_TOKENS = 24


@dataclass(frozen=True)
class Stored:
    """Rollouts with the log-probabilities of the trainer, or of peft at export (``made_by``)."""

    rollouts: list[StoredRollout]
    temperature: float
    dtype: str
    made_by: str


@dataclass(frozen=True)
class Source:
    """Base and adapter on CPU, in the precision of training."""

    package: Path
    base_path: Path
    model: Any
    tokenizer: Any
    stored: Stored

    @cached_property
    def base_files(self) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """The base's ``config.json`` and ``tokenizer.json``."""
        return read_base(self.base_path)

    @property
    def renderer(self) -> Renderer:
        """Renderer with the job's template arguments."""
        return Renderer(self.tokenizer, arguments=self.settings.get("template_arguments", {}))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The package's ``run.json``; empty for an adapter from elsewhere."""
        return _run_file(self.package)


def load(package: Path, base_path: Path, rollouts: Path | None) -> Source:
    """Load base, adapter and rollouts. Without ``rollouts`` exports must match peft's greedy completions.

    Raises ``EngineError`` if peft itself no longer reproduces the rollouts.
    """
    file: StoredRollouts | None = json.loads(rollouts.read_text()) if rollouts else None
    dtype = file["dtype"] if file else _find_dtype(package, base_path)
    loading.check_files(base_path.name, base_path)
    base = loading.load_model(base_path.name, base_path, getattr(torch, dtype))
    if changes_tied(base, package):
        untie(base)
    try:
        model = PeftModel.from_pretrained(base, package).eval()
    except Exception as error:  # PEFT has many exceptions for an adapter that does not fit
        raise adapter_unfit(str(error)) from error
    has_own = (package / "tokenizer_config.json").exists()
    tokenizer = loading.load_tokenizer(base_path.name, package if has_own else base_path)
    if file:
        stored = Stored(file["rollouts"], file["temperature"], dtype, "the trainer's log-probabilities")
    else:
        stored = Stored(_sample_greedily(model, tokenizer), 1.0, dtype, "base and adapter loaded by peft")
    return Source(package, base_path, model, tokenizer, stored)


def adapter_unfit(detail: str) -> EngineError:
    return EngineError(
        "adapter_unfit",
        "PEFT cannot load the adapter over this base model.",
        "Choose the base model and version that the adapter was trained on.",
        detail,
    )


def _run_file(package: Path) -> Mapping[str, Any]:
    file = package / "run.json"
    content: Mapping[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return content


def _find_dtype(package: Path, base_path: Path) -> str:
    """Return float32 or bfloat16; a float16 base is exported in float32, which represents it exactly."""
    config = json.loads((base_path / "config.json").read_text())
    dtype = _run_file(package).get("dtype") or config.get("dtype") or config.get("torch_dtype")
    return "bfloat16" if dtype == "bfloat16" else "float32"


def _sample_greedily(model: Any, tokenizer: Any) -> list[StoredRollout]:
    """Return greedy completions of fixed prompts, with the log-probabilities of their tokens."""
    if tokenizer.chat_template is None:
        raise EngineError("no_chat_template", "The tokenizer has no chat template.", "Add one and try again.")
    renderer = Renderer(tokenizer)
    prompts = [renderer.encode([{"role": "user", "content": text}]) for text in PROMPTS]
    return [_complete(model, prompt) for prompt in prompts]


@torch.no_grad()
def _complete(model: Any, prompt: list[int]) -> StoredRollout:
    ids = torch.tensor([prompt])
    ids_out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
    )
    completion: list[int] = ids_out[0, len(prompt) :].tolist()
    logprobs = completion_logprobs(model, prompt, completion, 1.0).tolist()
    return StoredRollout(prompt_ids=prompt, completion_ids=completion, logprobs=logprobs)
