"""Answers drawn from a model: pure temperature sampling in batches, apart from the training's randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from workers.engine.fast.architecture import describe, known
from workers.engine.fast.decoder import Decoder, Drawn
from workers.engine.memory import is_out_of_memory, release
from workers.engine.prompts.rendering import Renderer
from workers.engine.randomness import own_randomness
from workers.grading.sample import Completion

BATCH = 128  # answers drawn together


@dataclass(frozen=True)
class Answer:
    """One sampled answer. ``ids`` are its tokens, the end token included if it came."""

    text: Completion
    ids: list[int]
    truncated: bool


def cut(ids: list[int], eos_ids: list[int]) -> list[int]:
    """The ids up to the first end token, which is kept."""
    return next((ids[: place + 1] for place, token in enumerate(ids) if token in eos_ids), ids)


def portions(order: list[int], each: int, rows: int) -> Iterator[tuple[list[int], int]]:
    """Which prompts to sample together, and how many answers to each: at most ``rows`` answers at a time."""
    for start in range(0, each, rows):
        number = min(rows, each - start)
        together = max(1, rows // number)
        for first in range(0, len(order), together):
            yield order[first : first + together], number


@dataclass
class Portion:
    """How many prompts are answered together: half as many, from then on, whenever memory runs out."""

    prompts: int

    def draw(self, answer: Callable[[list[list[int]]], list[Drawn]], prompts: list[list[int]]) -> list[Drawn]:
        """What ``answer`` draws for the prompts, in their order. One prompt alone must fit."""
        drawn: list[Drawn] = []
        while len(drawn) < len(prompts):
            try:
                drawn += answer(prompts[len(drawn) : len(drawn) + self.prompts])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.prompts <= 1:
                    raise
                release()
                self.prompts = min(self.prompts, len(prompts)) // 2
        return drawn


@dataclass(frozen=True)
class Sampler:
    """Draws answers; one batch after another calls ``tick`` with its number of answers."""

    renderer: Renderer
    eos_ids: list[int]
    temperature: float
    max_new_tokens: int
    tick: Callable[[int], None] = lambda _: None

    def __call__(
        self, model: PreTrainedModel, prompts: list[list[int]], each: int, seed: int
    ) -> list[list[Answer]]:
        """``each`` answers to every prompt (token ids), in the order of the prompts."""
        fast = known(model)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # little padding
        answers: list[list[Answer]] = [[] for _ in prompts]
        portion = Portion(BATCH)
        with own_randomness(seed), torch.no_grad(), _evaluating(model):
            draw = Decoder(describe(model)).sample if fast else partial(self._generate, model)
            for chosen, number in portions(order, each, BATCH):

                def answer(some: list[list[int]], number: int = number) -> list[Drawn]:
                    return draw(some, number, self.max_new_tokens, self.temperature, self.eos_ids)

                drawn = portion.draw(answer, [prompts[i] for i in chosen])
                for index, ids in zip(chosen, drawn, strict=True):
                    answers[index] += self._answers(prompts[index], ids.ids)
                self.tick(len(chosen) * number)
        return answers

    def _answers(self, prompt: list[int], rows: list[list[int]]) -> list[Answer]:
        return [
            Answer(self.renderer.read_ids(prompt, ids), ids, not ids or ids[-1] not in self.eos_ids)
            for ids in rows
        ]

    def _generate(self, model: PreTrainedModel, prompts: list[list[int]], each: int, *_: Any) -> list[Drawn]:
        """What the decoder does, by transformers' own ``generate``; log-probabilities are left out."""
        repeated = [prompt for prompt in prompts for _ in range(each)]
        inputs = self.renderer.tokenizer.pad(
            {"input_ids": repeated}, padding_side="left", return_tensors="pt"
        )
        width = inputs["input_ids"].shape[1]
        with _generation_config(model, self._config()) as config:
            output = model.generate(**inputs.to(model.device), generation_config=config)
        kept = [cut(ids, self.eos_ids) for ids in output[:, width:].tolist()]
        return [Drawn(kept[start : start + each], []) for start in range(0, len(kept), each)]

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
    """Replaces the model's own defaults, which ``generate`` would mix into what is unset in ours."""
    owner = model.get_base_model() if hasattr(model, "get_base_model") else model
    before, owner.generation_config = owner.generation_config, config
    try:
        yield config
    finally:
        owner.generation_config = before
