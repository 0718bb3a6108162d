"""Samplers of turns: the engine's decoder, which keeps each session's cache, or transformers' generate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedModel

from workers.engine.episodes.episode import Episode
from workers.engine.fast.architecture import describe, is_known
from workers.engine.fast.decoder import Decoder
from workers.engine.fast.sessions import Sessions, WrittenTurn
from workers.engine.prompts.rendering import Renderer
from workers.engine.sampling.generation import evaluating, generate


@dataclass(frozen=True)
class TurnSampling:
    """Settings of sampling. ``check`` may raise an exception that ends it."""

    renderer: Renderer
    temperature: float
    eos_ids: list[int]
    check: Callable[[], None] = lambda: None


class TurnWriter(Protocol):
    """Samples the next turn of episodes. ``gives_logps`` is False if it does not know their probability."""

    gives_logps: bool

    def write(self, episodes: Sequence[Episode]) -> list[WrittenTurn]:
        """Return the next turn of each; episodes that are missing have ended."""


def open_writer(
    model: PreTrainedModel,
    sampling: TurnSampling,
    prompts: list[list[int]],
    each: int,
    episodes: list[Episode],
) -> TurnWriter:
    """Return the fastest writer for the model; ``episodes`` are ``each`` of every prompt."""
    if is_known(model):
        return CachedWriter(model, sampling, prompts, each, episodes)
    return PlainWriter(model, sampling)


class CachedWriter:
    """Computes each prompt once, and each token of a session once."""

    gives_logps = True

    def __init__(
        self,
        model: PreTrainedModel,
        sampling: TurnSampling,
        prompts: list[list[int]],
        each: int,
        episodes: list[Episode],
    ) -> None:
        self._sampling = sampling
        self._sessions = Sessions(Decoder(describe(model)), prompts, each, sampling.check)
        self._number = {id(episode): number for number, episode in enumerate(episodes)}

    def write(self, episodes: Sequence[Episode]) -> list[WrittenTurn]:
        return self._sessions.write(
            [self._number[id(episode)] for episode in episodes],
            [episode.added for episode in episodes],
            [episode.room for episode in episodes],
            self._sampling.temperature,
            self._sampling.eos_ids,
        )


class PlainWriter:
    """Computes the whole episode anew for each turn, as plain TRL does."""

    gives_logps = False

    def __init__(self, model: PreTrainedModel, sampling: TurnSampling) -> None:
        self._model, self._sampling = model, sampling

    def write(self, episodes: Sequence[Episode]) -> list[WrittenTurn]:
        sampling, longest = self._sampling, max(episode.room for episode in episodes)
        whole = [episode.prompt + episode.ids + episode.added for episode in episodes]
        with torch.no_grad(), evaluating(self._model):
            sampling.check()
            rows = generate(
                self._model, sampling.renderer, whole, longest, sampling.temperature, sampling.eos_ids
            )
        cut = [ids[: episode.room] for ids, episode in zip(rows, episodes, strict=True)]
        return [WrittenTurn(ids, [0.0] * len(ids)) for ids in cut]
