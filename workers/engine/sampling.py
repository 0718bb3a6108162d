"""Answers drawn from a model: pure temperature sampling in batches, apart from the training's randomness."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

CPU_BATCH = 64  # more rows at once are bound by memory bandwidth there
GPU_BATCH = 128


@dataclass(frozen=True)
class Answer:
    """One sampled answer. ``ids`` are its tokens, the end token included if it came."""

    text: str
    ids: list[int]
    truncated: bool


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seeds every generator inside and puts all of them back after, so that training goes on undisturbed."""
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)


def cut(ids: list[int], eos_ids: list[int]) -> tuple[list[int], bool]:
    """The ids up to the first end token, and whether none came (the answer was truncated)."""
    for place, token in enumerate(ids):
        if token in eos_ids:
            return ids[: place + 1], False
    return ids, True


@dataclass(frozen=True)
class Sampler:
    """Draws answers; one batch after another calls ``tick`` with its number of answers."""

    tokenizer: PreTrainedTokenizerBase
    eos_ids: list[int]
    temperature: float
    max_new_tokens: int
    tick: Callable[[int], None] = lambda _: None

    def __call__(
        self, model: PreTrainedModel, prompts: list[list[int]], each: int, seed: int
    ) -> list[list[Answer]]:
        """``each`` answers to every prompt (token ids), in the order of the prompts."""
        batch_size = CPU_BATCH if model.device.type == "cpu" else GPU_BATCH
        wanted = [index for index in range(len(prompts)) for _ in range(each)]
        wanted.sort(key=lambda index: len(prompts[index]))  # like lengths together: little padding
        answers: list[list[Answer]] = [[] for _ in prompts]
        with own_randomness(seed), torch.no_grad(), _evaluating(model):
            for start in range(0, len(wanted), batch_size):
                batch = wanted[start : start + batch_size]
                for index, answer in zip(batch, self._batch(model, [prompts[i] for i in batch]), strict=True):
                    answers[index].append(answer)
                self.tick(len(batch))
        return answers

    def _batch(self, model: PreTrainedModel, prompts: list[list[int]]) -> list[Answer]:
        inputs = self.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        width = inputs["input_ids"].shape[1]
        with _generation_config(model, self._config()) as config:
            output = model.generate(**inputs.to(model.device), generation_config=config)
        kept = [cut(ids, self.eos_ids) for ids in output[:, width:].tolist()]
        texts = self.tokenizer.batch_decode([ids for ids, _ in kept], skip_special_tokens=True)
        return [Answer(text, ids, truncated) for text, (ids, truncated) in zip(texts, kept, strict=True)]

    def _config(self) -> GenerationConfig:
        return GenerationConfig(
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.eos_ids,
            pad_token_id=self.tokenizer.pad_token_id,
            disable_compile=True,
        )


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _generation_config(model: Any, config: GenerationConfig) -> Iterator[GenerationConfig]:
    """Replaces the model's own defaults, which ``generate`` would mix into what is unset in ours."""
    owner = model.get_base_model() if hasattr(model, "get_base_model") else model
    before, owner.generation_config = owner.generation_config, config
    try:
        yield config
    finally:
        owner.generation_config = before
