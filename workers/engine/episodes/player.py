"""Plays the episodes of a batch: all write their turns together, and their tool calls are made together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from transformers import PreTrainedModel

from workers.contract.environments import EpisodeSettings
from workers.engine import errors
from workers.engine.episodes.episode import Episode, PlayedEpisode
from workers.engine.episodes.turns import TurnText
from workers.engine.episodes.writers import TurnSampling, open_writer
from workers.engine.prompts.conversations import content_text
from workers.engine.prompts.data import Row
from workers.engine.prompts.tool_calls import find_format
from workers.environments.backend import Backend, Call, EnvironmentFault, SessionLost
from workers.environments.checks import Finding, check_environment


@dataclass
class Player:
    """Plays rows in the environment of their task. ``seconds`` is the time spent in environments so far."""

    environments: Mapping[str, Backend]
    text: TurnText
    sampling: TurnSampling
    settings: EpisodeSettings
    limit: int
    seconds: float = 0.0

    @classmethod
    def create(
        cls,
        environments: Mapping[str, Backend],
        sampling: TurnSampling,
        settings: EpisodeSettings,
        limit: int,
    ) -> Player:
        """Raises ``EngineError`` if the chat template cannot show tools or their results."""
        form = find_format(sampling.renderer)
        if form is None and any(backend.list_tools() for backend in environments.values()):
            raise errors.template_without_calls()
        return cls(environments, TurnText(sampling.renderer, form), sampling, settings, limit)

    def plays(self, row: Row) -> bool:
        """Return True if the row is the task of an episode."""
        return row.task in self.environments

    def check_environments(self, seed: int) -> list[Finding]:
        """Return what the checks of each environment find. Raises ``EngineError``."""
        distinct = {id(backend): backend for backend in self.environments.values()}
        with self._in_environment():
            return [each for backend in distinct.values() for each in check_environment(backend, seed)]

    def play(self, model: PreTrainedModel, rows: Sequence[Row], each: int) -> list[list[PlayedEpisode]]:
        """Play ``each`` episodes of every row. Raises ``EngineError``."""
        prompts = [self.sampling.renderer.encode(row.messages, row.tools) for row in rows]
        episodes = [
            Episode(row, prompt, self.environments[row.task], self.text, self.settings, self.limit)
            for row, prompt in zip(rows, prompts, strict=True)
            for _ in range(each)
        ]
        try:
            with self._in_environment():
                self._open(episodes)
            with_logps = self._play_turns(model, prompts, each, episodes)
            with self._in_environment():
                self._score(episodes)
        finally:
            for episode in episodes:
                if episode.session is not None:
                    episode.session.close()
        finished = [e.finish(self.sampling.eos_ids[0], with_logps) for e in episodes]
        return [finished[first : first + each] for first in range(0, len(finished), each)]

    def _open(self, episodes: list[Episode]) -> None:
        for backend, members in _group_by_backend(episodes):
            sessions = backend.open_sessions([dict(episode.row.item) for episode in members])
            for episode, session in zip(members, sessions, strict=True):
                if isinstance(session, SessionLost):
                    episode.lose()
                    continue
                episode.session, row = session, episode.row
                if session.prompt not in ("", content_text(row.messages[-1].get("content", ""))):
                    raise errors.environment_differs(row.row_id, session.prompt)

    def _play_turns(
        self, model: PreTrainedModel, prompts: list[list[int]], each: int, episodes: list[Episode]
    ) -> bool:
        """Play all episodes to their end. Return True if the log-probabilities are known."""
        writer = open_writer(model, self.sampling, prompts, each, episodes)
        running = [episode for episode in episodes if episode.end is None]
        while running:
            for episode, turn in zip(running, writer.write(running), strict=True):
                episode.add_turn(turn, self.sampling.eos_ids)
            with self._in_environment():
                self._answer([episode for episode in running if episode.end is None])
            for episode in running:
                episode.finish_turn()
            running = [episode for episode in running if episode.end is None]
        return writer.gives_logps

    def _answer(self, episodes: list[Episode]) -> None:
        """Make the calls of the episodes' last turns, one a round of each; reply to turns without calls."""
        for episode in episodes:
            if not episode.calls:
                self._reply(episode)
        while calling := [episode for episode in episodes if episode.calls]:
            self._make([(episode, call) for episode in calling if (call := episode.take_call())])

    def _make(self, calls: list[tuple[Episode, Call]]) -> None:
        call_of = {id(episode): call for episode, call in calls}
        for backend, members in _group_by_backend([episode for episode, _ in calls]):
            results = backend.call_all([call_of[id(episode)] for episode in members])
            for episode, result in zip(members, results, strict=True):
                if isinstance(result, SessionLost):
                    episode.lose()
                else:
                    episode.add_result(call_of[id(episode)].name, result)

    def _reply(self, episode: Episode) -> None:
        assert episode.session is not None, "a lost episode writes no turn"
        try:
            episode.add_reply(episode.session.reply(episode.turns[-1].content))
        except SessionLost:
            episode.lose()

    def _score(self, episodes: list[Episode]) -> None:
        for backend, members in _group_by_backend([e for e in episodes if e.end != "session_lost"]):
            sessions = [episode.session for episode in members if episode.session is not None]
            for episode, score in zip(members, backend.score_all(sessions), strict=True):
                if isinstance(score, SessionLost):
                    episode.lose()
                else:
                    episode.score = score

    @contextmanager
    def _in_environment(self) -> Iterator[None]:
        """Count the time, and name the environment's own faults."""
        started = time.perf_counter()
        try:
            yield
        except EnvironmentFault as fault:
            raise errors.environment_fault(fault.cause, fault.remedy, fault.line) from fault
        finally:
            self.seconds += time.perf_counter() - started


def _group_by_backend(episodes: list[Episode]) -> list[tuple[Backend, list[Episode]]]:
    """Return the episodes of each environment, in order."""
    groups: dict[int, tuple[Backend, list[Episode]]] = {}
    for episode in episodes:
        groups.setdefault(id(episode.backend), (episode.backend, []))[1].append(episode)
    return list(groups.values())
