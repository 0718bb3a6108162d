"""Completions sampled from a model, in batches and without disturbing the randomness of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel

from workers.engine.episodes.episode import PlayedEpisode
from workers.engine.episodes.player import Player
from workers.engine.fast.architecture import describe, is_known
from workers.engine.fast.decoder import Completions, Decoder
from workers.engine.memory import is_out_of_memory, release
from workers.engine.prompts.data import Row
from workers.engine.prompts.rendering import Renderer
from workers.engine.randomness import isolated_randomness
from workers.engine.sampling.generation import evaluating, generate
from workers.grading.sample import Completion

BATCH = 128  # completions sampled together
Prompt = TypeVar("Prompt")
Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class SampledCompletion:
    """One sampled completion. ``ids`` are its tokens, with the end token if there is one.

    ``mask``, if set, is 0 for the tokens of an episode that the model did not write.
    """

    text: Completion
    ids: list[int]
    truncated: bool
    mask: list[int] | None = None

    @property
    def length(self) -> int:
        """Number of tokens that the model wrote."""
        return len(self.ids) if self.mask is None else sum(self.mask)

    @classmethod
    def from_episode(cls, played: PlayedEpisode) -> SampledCompletion:
        """Return an episode as a completion."""
        return cls(played.completion, played.ids, played.truncated, played.mask)


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

    def draw(self, complete: Callable[[list[Prompt]], list[Drawn]], prompts: list[Prompt]) -> list[Drawn]:
        """Return what ``complete`` samples for the prompts, in their order. One prompt alone must fit."""
        drawn: list[Drawn] = []
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
    """Samples completions. Each batch calls ``tick`` with its number of completions.

    A ``player`` plays the rows that have an environment.
    """

    renderer: Renderer
    eos_ids: list[int]
    temperature: float
    max_new_tokens: int
    tick: Callable[[int], None] = lambda _: None
    player: Player | None = None

    def complete_rows(
        self, model: PreTrainedModel, rows: Sequence[Row], each: int, seed: int
    ) -> list[list[SampledCompletion]]:
        """Return ``each`` completions to every row, in their order; an episode of a row that is played."""
        played = [at for at, row in enumerate(rows) if self.player and self.player.plays(row)]
        single = [at for at in range(len(rows)) if at not in set(played)]
        prompts = [self.renderer.encode(rows[at].messages, rows[at].tools) for at in single]
        found = dict(zip(single, self(model, prompts, each, seed) if single else [], strict=True))
        if played:
            found |= zip(played, self._play(model, [rows[at] for at in played], each, seed), strict=True)
        return [found[at] for at in range(len(rows))]

    def _play(
        self, model: PreTrainedModel, rows: list[Row], each: int, seed: int
    ) -> list[list[SampledCompletion]]:
        player, portion = self.player, Portion(BATCH)
        assert player is not None, "only a sampler with a player plays rows"
        completions: list[list[SampledCompletion]] = [[] for _ in rows]
        with isolated_randomness(seed), torch.no_grad(), evaluating(model):
            for indices, number in plan_portions(list(range(len(rows))), each, BATCH):

                def play(some: list[Row], number: int = number) -> list[list[PlayedEpisode]]:
                    return player.play(model, some, number)

                episodes = portion.draw(play, [rows[index] for index in indices])
                for index, own in zip(indices, episodes, strict=True):
                    completions[index] += map(SampledCompletion.from_episode, own)
                self.tick(len(indices) * number)
        return completions

    def __call__(
        self, model: PreTrainedModel, prompts: list[list[int]], each: int, seed: int
    ) -> list[list[SampledCompletion]]:
        """Return ``each`` completions to every prompt (token ids), in the order of the prompts."""
        fast = is_known(model)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # little padding
        completions: list[list[SampledCompletion]] = [[] for _ in prompts]
        portion = Portion(BATCH)
        with isolated_randomness(seed), torch.no_grad(), evaluating(model):
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
        rows = generate(model, self.renderer, repeated, self.max_new_tokens, self.temperature, self.eos_ids)
        return [Completions(rows[first : first + each], []) for first in range(0, len(rows), each)]
