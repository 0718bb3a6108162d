"""Sampling by transformers' ``generate``, for models that the engine's decoder does not support."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig, PreTrainedModel

if TYPE_CHECKING:
    from workers.engine.prompts.rendering import Renderer


def generate(
    model: PreTrainedModel,
    renderer: Renderer,
    prompts: list[list[int]],
    limit: int,
    temperature: float,
    eos_ids: list[int],
) -> list[list[int]]:
    """Return one completion of at most ``limit`` tokens to each prompt, its end token included."""
    config = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        max_new_tokens=limit,
        eos_token_id=eos_ids,
        pad_token_id=renderer.tokenizer.pad_token_id,
        disable_compile=True,
    )
    inputs = renderer.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    width = inputs["input_ids"].shape[1]
    with _generation_config(model, config):
        output = model.generate(**inputs.to(model.device), generation_config=config)
    return [cut_after_end(ids, eos_ids) for ids in output[:, width:].tolist()]


def cut_after_end(ids: list[int], eos_ids: list[int]) -> list[int]:
    """Return the ids up to and including the first end token."""
    return next((ids[: index + 1] for index, token in enumerate(ids) if token in eos_ids), ids)


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Switch dropout off."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _generation_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Replace the model's own defaults: ``generate`` would use them for what is unset in ``config``."""
    owner = model.get_base_model() if hasattr(model, "get_base_model") else model
    before, owner.generation_config = owner.generation_config, config
    try:
        yield
    finally:
        owner.generation_config = before
