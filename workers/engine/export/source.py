"""What an export starts from, base and adapter as peft loads them, and what it is held against."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from workers.contract.exports import Json, read_base
from workers.engine.base_model import loading
from workers.engine.base_model.targets import changes_tied, untie
from workers.engine.errors import EngineError
from workers.engine.packaging.verify import StoredRollout, completion_logprobs
from workers.engine.prompts.rendering import Renderer

CheckStop = Callable[[], None]
"""Raises ``errors.Stopped`` if the export was stopped."""

PROMPTS = ("Hello!", "What can you do?", "Answer with the number 42 and one sentence.")
NEW_TOKENS = 24


@dataclass(frozen=True)
class Stored:
    """Rollouts and their log-probabilities; ``made_by`` says whose: the trainer's, or peft's at export."""

    rollouts: list[StoredRollout]
    temperature: float
    dtype: str
    made_by: str


@dataclass(frozen=True)
class Source:
    """Base and adapter on CPU, in the precision that training had."""

    package: Path
    base_path: Path
    model: Any
    tokenizer: Any
    stored: Stored

    @cached_property
    def base_files(self) -> tuple[Json, Json | None]:
        """The base's ``config.json`` and ``tokenizer.json``."""
        return read_base(self.base_path)

    @property
    def renderer(self) -> Renderer:
        """Renders as the job did, with its template arguments."""
        return Renderer(self.tokenizer, arguments=self.settings.get("template_arguments", {}))

    @property
    def settings(self) -> dict[str, Any]:
        """The package's ``run.json``; empty for an adapter from elsewhere."""
        return _run_file(self.package)


def load(package: Path, base_path: Path, rollouts: Path | None) -> Source:
    """Loads all that is needed. Without ``rollouts`` peft's own greedy answers are what exports must match.

    Raises ``EngineError`` if peft itself no longer reproduces the rollouts.
    """
    told = json.loads(rollouts.read_text()) if rollouts else None
    dtype = told["dtype"] if told else _dtype(package, base_path)
    loading.check_files(base_path.name, base_path)
    base = loading.load_model(base_path.name, base_path, getattr(torch, dtype))
    if changes_tied(base, package):
        untie(base)
    try:
        model = PeftModel.from_pretrained(base, package).eval()
    except Exception as error:  # PEFT says in many ways that an adapter does not fit
        raise unfit(str(error)) from error
    has_own = (package / "tokenizer_config.json").exists()
    tokenizer = loading.load_tokenizer(base_path.name, package if has_own else base_path)
    if told:
        stored = Stored(told["rollouts"], told["temperature"], dtype, "the trainer's log-probabilities")
    else:
        stored = Stored(_answers(model, tokenizer), 1.0, dtype, "base and adapter loaded by peft")
    return Source(package, base_path, model, tokenizer, stored)


def unfit(detail: str) -> EngineError:
    return EngineError(
        "adapter_unfit",
        "PEFT cannot load the adapter over this base model.",
        "Choose the base model, in the version, that the adapter was trained on.",
        detail,
    )


def _run_file(package: Path) -> dict[str, Any]:
    file = package / "run.json"
    return json.loads(file.read_text()) if file.exists() else {}


def _dtype(package: Path, base_path: Path) -> str:
    """float32 or bfloat16; a float16 base is exported in float32, which holds all of it."""
    config = json.loads((base_path / "config.json").read_text())
    said = _run_file(package).get("dtype") or config.get("dtype") or config.get("torch_dtype")
    return "bfloat16" if said == "bfloat16" else "float32"


def _answers(model: Any, tokenizer: Any) -> list[StoredRollout]:
    """Greedy answers to fixed prompts, with the log-probabilities of their tokens."""
    return [_answer(model, _encoded(tokenizer, prompt)) for prompt in PROMPTS]


def _encoded(tokenizer: Any, prompt: str) -> list[int]:
    if tokenizer.chat_template is None:
        raise EngineError("no_chat_template", "The tokenizer has no chat template.", "Add one and try again.")
    return Renderer(tokenizer).encode([{"role": "user", "content": prompt}])


@torch.no_grad()
def _answer(model: Any, prompt: list[int]) -> StoredRollout:
    ids = torch.tensor([prompt])
    drawn = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
    )
    answer: list[int] = drawn[0, len(prompt) :].tolist()
    logprobs = completion_logprobs(model, prompt, answer, 1.0).tolist()
    return StoredRollout(prompt_ids=prompt, completion_ids=answer, logprobs=logprobs)
