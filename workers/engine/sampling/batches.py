"""Completions sampled from a model, in batches and without disturbing the randomness of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from workers.engine.fast.architecture import describe, is_known
from workers.engine.fast.decoder import Completions, Decoder
from workers.engine.memory import is_out_of_memory, release
from workers.engine.prompts.rendering import Renderer
from workers.engine.randomness import isolated_randomness
from workers.grading.sample import Completion

BATCH = 128  # completions sampled together


@dataclass(frozen=True)
class SampledCompletion:
    """One sampled completion. ``ids`` are its tokens, with the end token if there is one."""

    text: Completion
    ids: list[int]
    truncated: bool


def cut_after_end(ids: list[int], eos_ids: list[int]) -> list[int]:
    """Return the ids up to and including the first end token."""
    return next((ids[: index + 1] for index, token in enumerate(ids) if token in eos_ids), ids)


def plan_portions(order: list[int], each: int, rows: int) -> Iterator[tuple[list[int], int]]:
    """Yield prompts to sample together and the number of completions to each, at most ``rows`` in all."""
    for start in range(0, each, rows):
        number = min(rows, each - start)
        together = max(1, rows // number)
        for first in range(0, len(order), together):
            yield order[first : first + together], number


@dataclass
class Portion:
    """Number of prompts that are sampled together. It is halved for good whenever memory runs out."""

    prompts: int

    def draw(
        self, complete: Callable[[list[list[int]]], list[Completions]], prompts: list[list[int]]
    ) -> list[Completions]:
        """Return what ``complete`` samples for the prompts, in their order. One prompt alone must fit."""
        drawn: list[Completions] = []
        while len(drawn) < len(prompts):
            try:
                drawn += complete(prompts[len(drawn) : len(drawn) + self.prompts])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.prompts <= 1:
                    raise
                release()
                self.prompts = min(self.prompts, len(prompts)) // 2
        return drawn


@dataclass(frozen=True)
class Sampler:
    """Samples completions. Each batch calls ``tick`` with its number of completions."""

    renderer: Renderer
    eos_ids: list[int]
    temperature: float
    max_new_tokens: int
    tick: Callable[[int], None] = lambda _: None

    def __call__(
        self, model: PreTrainedModel, prompts: list[list[int]], each: int, seed: int
    ) -> list[list[SampledCompletion]]:
        """Return ``each`` completions to every prompt (token ids), in the order of the prompts."""
        fast = is_known(model)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # little padding
        completions: list[list[SampledCompletion]] = [[] for _ in prompts]
        portion = Portion(BATCH)
        with isolated_randomness(seed), torch.no_grad(), _evaluating(model):
            draw = Decoder(describe(model)).sample if fast else partial(self._generate, model)
            for indices, number in plan_portions(order, each, BATCH):

                def complete(some: list[list[int]], number: int = number) -> list[Completions]:
                    return draw(some, number, self.max_new_tokens, self.temperature, self.eos_ids)

                drawn = portion.draw(complete, [prompts[i] for i in indices])
                for index, own in zip(indices, drawn, strict=True):
                    completions[index] += self._parse(prompts[index], own.ids)
                self.tick(len(indices) * number)
        return completions

    def _parse(self, prompt: list[int], rows: list[list[int]]) -> list[SampledCompletion]:
        return [
            SampledCompletion(
                self.renderer.parse_ids(prompt, ids), ids, not ids or ids[-1] not in self.eos_ids
            )
            for ids in rows
        ]

    def _generate(
        self, model: PreTrainedModel, prompts: list[list[int]], each: int, *_: Any
    ) -> list[Completions]:
        """Sample as the decoder does, by transformers' ``generate`` and without log-probabilities."""
        repeated = [prompt for prompt in prompts for _ in range(each)]
        inputs = self.renderer.tokenizer.pad(
            {"input_ids": repeated}, padding_side="left", return_tensors="pt"
        )
        width = inputs["input_ids"].shape[1]
        with _generation_config(model, self._config()) as config:
            output = model.generate(**inputs.to(model.device), generation_config=config)
        rows = [cut_after_end(ids, self.eos_ids) for ids in output[:, width:].tolist()]
        return [Completions(rows[first : first + each], []) for first in range(0, len(rows), each)]

    def _config(self) -> GenerationConfig:
        return GenerationConfig(
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.eos_ids,
            pad_token_id=self.renderer.tokenizer.pad_token_id,
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
    """Replace the model's own defaults: ``generate`` would use them for what is unset in ``config``."""
    owner = model.get_base_model() if hasattr(model, "get_base_model") else model
    before, owner.generation_config = owner.generation_config, config
    try:
        yield config
    finally:
        owner.generation_config = before
