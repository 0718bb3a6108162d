"""A warm sandbox for one user's source: grades batches, replaces a process that is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, get_args

from workers.events import GradingErrorClass
from workers.grading.results import GradingUnavailable, Limits
from workers.grading.sandbox.process import Broken, Hung, Process, StartFailed
from workers.grading.sandbox.walls import Wall

ERROR_CLASSES = get_args(GradingErrorClass)


@dataclass(frozen=True)
class Outcome:
    """One item's verdict: a finite reward, or the class and the detail of what went wrong."""

    reward: float | None
    error_class: GradingErrorClass | None = None
    detail: str | None = None
    stdout: str = ""
    seconds: float = 0.0
    sub_rewards: dict[str, float] = field(default_factory=dict)


class _NotLoaded(Exception):
    """The source's top level failed; ``args`` hold the outcome that every item gets."""


class Sandbox:
    """Use as a context manager. One sandbox runs one source; nothing is shared with another.

    An item that kills or hangs its process costs only itself: the process reports item by item, and the
    rest goes on in a fresh one. An item is blamed for a death only if it dies first in a fresh process.
    """

    def __init__(self, source: str, limits: Limits, wall: Wall) -> None:
        self._source, self._limits, self._wall = source, limits, wall
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="sandbox-spawner")
        self._process: Process | None = None
        self._fresh = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._discard()
        self._spawner.shutdown()

    def start(self) -> list[str]:
        """Starts the process, without the source; names its layers. Raises as ``Process`` does."""
        self._process = Process(self._wall, self._limits, self._spawner)
        self._fresh = True
        return self._process.layers

    def grade(self, requests: Sequence[dict[str, Any]]) -> list[Outcome]:
        """The verdicts in the order of ``requests``, each with ``sample``, ``item`` and ``seed``."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(requests):
            batch = requests[len(outcomes) : len(outcomes) + self._limits.batch_items]
            outcomes += self._some(batch)
        return outcomes

    def _some(self, batch: Sequence[dict[str, Any]]) -> list[Outcome]:
        """The outcomes of the batch's beginning; none only if the next try has a fresh process."""
        done: list[Outcome] = []
        try:
            process = self._loaded()
            process.send({"batch": list(batch)}, self._item_seconds())
            while self._process and len(done) < len(batch):
                done.append(self._next(process))
        except _NotLoaded as failure:
            return list(failure.args) * len(batch)
        except Broken as error:
            if self._fresh or isinstance(error, Hung):
                done.append(_runtime_error(str(error)))
            self._discard()
        except (StartFailed, GradingUnavailable) as error:
            return [Outcome(None, "python_grader_server_error", str(error))] * len(batch)
        return done

    def _next(self, process: Process) -> Outcome:
        started = time.perf_counter()
        reply = process.receive(self._item_seconds())
        outcome = _outcome(reply, self._limits, time.perf_counter() - started)
        self._fresh = False
        if reply.get("spent"):
            self._discard()
        return outcome

    def _loaded(self) -> Process:
        """The process with its source. A source that fails to load raises ``_NotLoaded``."""
        if self._process is not None and not self._fresh:
            return self._process
        if self._process is None:
            self.start()
        assert self._process is not None
        try:
            self._process.send({"source": self._source}, self._limits.load_seconds)
            reply = self._process.receive(self._limits.load_seconds + self._limits.grace_seconds)
            outcome = _outcome(reply, self._limits, 0.0)
        except Broken as error:
            outcome = _runtime_error(f"while loading the source: {error}")
        if outcome.error_class:
            self._discard()
            raise _NotLoaded(outcome)
        return self._process

    def _item_seconds(self) -> float:
        return self._limits.item_seconds + self._limits.grace_seconds

    def _discard(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


def _runtime_error(detail: str) -> Outcome:
    return Outcome(None, "python_grader_runtime_error", detail)


def _outcome(reply: dict[str, Any], limits: Limits, seconds: float) -> Outcome:
    """A reply, believed in nothing but its form. Raises ``Broken``."""
    stdout = _text(reply.get("stdout"), limits.stdout_characters)
    if "error" in reply:
        detail = _text(reply["error"], 2 * limits.detail_characters)
        return Outcome(None, "python_grader_runtime_error", detail, stdout, seconds)
    if limits.verdicts and "error_class" in reply:
        return _verdict(reply, limits, stdout, seconds)
    return Outcome(_finite(reply.get("reward")), stdout=stdout, seconds=seconds)


def _verdict(reply: dict[str, Any], limits: Limits, stdout: str, seconds: float) -> Outcome:
    """What a source of ours said, which has read hostile text: checked as closely."""
    parts = reply.get("sub_rewards")
    if not isinstance(parts, dict) or reply["error_class"] not in (None, *ERROR_CLASSES):
        raise Broken("the grader's process sent a verdict in no known form")
    return Outcome(
        None if reply.get("reward") is None else _finite(reply["reward"]),
        reply["error_class"],
        _text(reply.get("detail", ""), limits.detail_characters) or None,
        stdout,
        seconds,
        {_text(name, limits.detail_characters): _finite(part) for name, part in parts.items()},
    )


def _finite(value: object) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise Broken("the grader's process sent a reward that is no finite number")
    return value


def _text(value: object, characters: int) -> str:
    """Text that databases take: without NUL and without halves of surrogate pairs."""
    if not isinstance(value, str):
        raise Broken("the grader's process sent a reply without its text")
    kept = value[:characters].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return kept.encode("utf-8", "replace").decode()
