"""A warm pool of sandboxed processes for one source: grades batches and replaces used-up processes."""

from __future__ import annotations

import json
import math
import os
import select
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self, cast, get_args

from workers.contract.events import GradingErrorClass
from workers.grading.results import GradingUnavailable, Limits
from workers.grading.sandbox.process import HUNG, Broken, Process, Reply, StartFailed, Zygote
from workers.grading.sandbox.walls import Wall
from workers.grading.source import keeps_state, warm_imports

ERROR_CLASSES = get_args(GradingErrorClass)
MOST_PROCESSES = 4
ITEMS_FOR_ANOTHER = 16  # a batch this long is worth one more process


class Request(NamedTuple):
    """One item: completion and row as the beginning of JSON, ``[text, item``, and the random seed."""

    content: str
    seed: int

    def frame(self) -> str:
        return f"{self.content},{self.seed}]"


class Outcome(NamedTuple):
    """The verdict on one item: a finite reward, or the class and the detail of its error."""

    reward: float | None
    error_class: GradingErrorClass | None = None
    detail: str | None = None
    stdout: str = ""
    seconds: float = 0.0
    sub_rewards: Mapping[str, float | None] = MappingProxyType({})


class _NotLoaded(Exception):
    """The source's top level failed; every item gets ``outcome``."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


@dataclass
class _Seat:
    """A process and its work. ``pending`` are the indices of the items that were sent to it, in order.

    ``fresh`` until it has graded something. ``since`` is the start of the current item, or of loading.
    """

    process: Process
    pending: deque[int] = field(default_factory=deque)
    loaded: bool = False
    fresh: bool = True
    since: float = 0.0


class Sandbox:
    """Use as a context manager. One sandbox runs one source; nothing is shared with another.

    An item that kills or hangs its process affects only itself: a process reports item by item, and another
    one grades the rest. An item is blamed for a death only if it was the first one in a fresh process. A
    source that keeps state gets a new process for every item, so that no verdict depends on other items.
    """

    def __init__(self, source: str, limits: Limits, wall: Wall) -> None:
        self._source, self._limits, self._wall = source, limits, wall
        self._alone = keeps_state(source)
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="sandbox-spawner")
        self._zygote: Zygote | None = None
        self._seats: list[_Seat] = []
        self._most = min(MOST_PROCESSES, len(os.sched_getaffinity(0)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._close()
        self._spawner.shutdown()

    def start(self) -> list[str]:
        """Start the zygote and a first process. Returns the names of the layers around it.

        Raises ``StartFailed``, or ``GradingUnavailable`` if the kernel lacks the inner wall.
        """
        process = self._fork()
        try:
            reply = process.receive(self._limits.load_seconds)
        except Broken as error:
            raise StartFailed(str(error)) from error
        if not isinstance(reply, dict):
            raise StartFailed("the sandbox's first process did not report its layers")
        _check_available(reply)
        assert self._zygote is not None
        process.send(self._build_load_request())
        self._seats.append(_Seat(process, since=time.monotonic()))
        return [*self._zygote.layers, *_read_texts(reply.get("layers"))]

    def grade(self, requests: Sequence[Request]) -> list[Outcome]:
        """Return the verdicts in the order of ``requests``."""
        outcomes: dict[int, Outcome] = {}
        waiting = deque(range(len(requests)))
        try:
            if not self._seats:
                self.start()
            while len(outcomes) < len(requests):
                self._add_seats(len(waiting))
                self._hand_out(outcomes, waiting, requests)
                self._collect(outcomes, waiting)
        except _NotLoaded as failure:
            self._close()
            return [outcomes.get(index, failure.outcome) for index in range(len(requests))]
        except (StartFailed, GradingUnavailable) as error:
            self._close()
            lost = Outcome(None, "python_grader_server_error", str(error))
            return [outcomes.get(index, lost) for index in range(len(requests))]
        return [outcomes[index] for index in range(len(requests))]

    # --- processes -------------------------------------------------------------------------------

    def _fork(self) -> Process:
        if self._zygote is None:
            self._zygote = Zygote(self._wall, self._limits, warm_imports(self._source), self._spawner)
        return self._zygote.fork()

    def _add_seats(self, waiting: int) -> None:
        """Start as many processes as the work needs; they lock themselves in and load meanwhile."""
        worth = waiting if self._alone else -(-waiting // ITEMS_FOR_ANOTHER)
        busy = sum(bool(seat.pending) for seat in self._seats)
        while len(self._seats) < min(self._most, max(1, busy + worth)):
            process = self._fork()
            process.send(self._build_load_request())
            self._seats.append(_Seat(process, since=time.monotonic()))

    def _build_load_request(self) -> bytes:
        return json.dumps({"source": self._source}).encode()

    def _hand_out(
        self, outcomes: dict[int, Outcome], waiting: deque[int], requests: Sequence[Request]
    ) -> None:
        """Share the waiting items among the idle processes."""
        idle = [seat for seat in self._seats if not seat.pending]
        for number, seat in enumerate(idle):
            if not waiting:
                return
            share = 1 if self._alone else -(-len(waiting) // (len(idle) - number))
            for _ in range(min(share, self._limits.batch_items)):
                seat.pending.append(waiting.popleft())
            if seat.loaded:
                seat.since = time.monotonic()
            batch = ",".join([requests[index].frame() for index in seat.pending])
            try:
                seat.process.send(f"[{batch}]".encode())
            except Broken as error:
                self._replace_lost(seat, error, outcomes, waiting)

    def _collect(self, outcomes: dict[int, Outcome], waiting: deque[int]) -> None:
        """Wait until a process sends a reply, or takes too long."""
        poll = select.poll()
        by_descriptor: dict[int, _Seat] = {}
        for seat in self._seats:
            poll.register(seat.process, select.POLLIN)
            by_descriptor[seat.process.fileno()] = seat
            if seat.process.unsent:
                poll.register(seat.process.requests, select.POLLOUT)
                by_descriptor[seat.process.requests] = seat
        nearest = min((self._deadline(s) for s in self._seats if s.pending), default=time.monotonic())
        ready = poll.poll(max(0.0, nearest - time.monotonic()) * 1000)
        for seat in {id(by_descriptor[d]): by_descriptor[d] for d, _ in ready}.values():
            self._read_replies(seat, outcomes, waiting)
        now = time.monotonic()
        for seat in [s for s in self._seats if s.pending and self._deadline(s) <= now]:
            self._replace_lost(seat, Broken(HUNG), outcomes, waiting, at_fault=True)

    def _deadline(self, seat: _Seat) -> float:
        seconds = self._limits.item_seconds if seat.loaded else self._limits.load_seconds
        return seat.since + seconds + self._limits.grace_seconds

    def _read_replies(self, seat: _Seat, outcomes: dict[int, Outcome], waiting: deque[int]) -> None:
        try:
            seat.process.push()
            for reply in seat.process.replies():
                if self._handle_start(seat, reply):
                    continue
                self._store_outcome(seat, reply, outcomes)
                if self._alone or (isinstance(reply, dict) and reply.get("spent")):
                    self._retire(seat, waiting)
                    return
        except Broken as error:
            self._replace_lost(seat, error, outcomes, waiting)

    def _handle_start(self, seat: _Seat, reply: Reply) -> bool:
        """Return True for a reply before the first verdict: the layers, then the result of loading."""
        if seat.loaded:
            return False
        if isinstance(reply, dict):
            _check_available(reply)
        if isinstance(reply, list) or "layers" not in reply:
            outcome = _parse_outcome(reply, self._limits)
            if outcome.error_class:
                raise _NotLoaded(outcome)
            seat.loaded, seat.since = True, time.monotonic()
        return True

    def _store_outcome(self, seat: _Seat, reply: Reply, outcomes: dict[int, Outcome]) -> None:
        """Store the verdict on the current item. Raises ``Broken`` without one, or for an invalid reply."""
        if not seat.pending:
            raise Broken("the grader's process sent a reply without a request")
        outcomes[seat.pending[0]] = _parse_outcome(reply, self._limits)
        seat.pending.popleft()
        seat.fresh, seat.since = False, time.monotonic()

    def _replace_lost(
        self,
        seat: _Seat,
        error: Broken,
        outcomes: dict[int, Outcome],
        waiting: deque[int],
        at_fault: bool = False,
    ) -> None:
        """Remove a dead or stuck process. Its item is to blame if it was the first one or took too long."""
        if not seat.loaded:
            raise _NotLoaded(_build_runtime_error(f"while loading the source: {error}"))
        if seat.pending and (seat.fresh or at_fault):
            outcomes[seat.pending.popleft()] = _build_runtime_error(str(error))
        self._retire(seat, waiting)

    def _retire(self, seat: _Seat, waiting: deque[int]) -> None:
        """End a process; its pending items are graded by another one, in the same order."""
        waiting.extendleft(reversed(seat.pending))
        seat.process.close()
        self._seats.remove(seat)

    def _close(self) -> None:
        for seat in self._seats:
            seat.process.close()
        self._seats.clear()
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None


def _build_runtime_error(detail: str) -> Outcome:
    return Outcome(None, "python_grader_runtime_error", detail)


def _check_available(reply: dict[str, object]) -> None:
    """Raise ``GradingUnavailable`` if the process reports that its kernel lacks the inner wall."""
    if "unavailable" in reply:
        reason, remedy = [*_read_texts(reply["unavailable"]), "", ""][:2]
        raise GradingUnavailable(reason, remedy)


def _read_texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _parse_outcome(reply: Reply, limits: Limits) -> Outcome:
    """Return the outcome in a reply; only its form is trusted. Raises ``Broken``."""
    if isinstance(reply, list):
        return Outcome(_to_finite(reply[0]), seconds=_to_finite(reply[1]))
    seconds = _to_finite(reply.get("seconds"))
    stdout = _to_text(reply.get("stdout"), limits.stdout_characters)
    if "error" in reply:
        detail = _to_text(reply["error"], 2 * limits.detail_characters)
        return Outcome(None, "python_grader_runtime_error", detail, stdout, seconds)
    if limits.verdicts and "error_class" in reply:
        return _parse_verdict(reply, limits, stdout, seconds)
    return Outcome(_to_finite(reply.get("reward")), stdout=stdout, seconds=seconds)


def _parse_verdict(reply: dict[str, object], limits: Limits, stdout: str, seconds: float) -> Outcome:
    """Return the verdict of one of Groove's sources. It has read untrusted text, so it is checked too."""
    parts, error_class = reply.get("sub_rewards"), reply["error_class"]
    if not isinstance(parts, dict) or error_class not in (None, *ERROR_CLASSES):
        raise Broken("the grader's process sent a verdict in no known form")
    return Outcome(
        None if reply.get("reward") is None else _to_finite(reply["reward"]),
        cast(GradingErrorClass | None, error_class),
        _to_text(reply.get("detail", ""), limits.detail_characters) or None,
        stdout,
        seconds,
        {_to_text(name, limits.detail_characters): _to_finite(part) for name, part in parts.items()},
    )


def _to_finite(value: object) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise Broken("the grader's process sent a reward that is no finite number")
    return value


def _to_text(value: object, characters: int) -> str:
    """Return text that databases take: without NUL and halves of surrogate pairs."""
    if value == "":
        return ""
    if not isinstance(value, str):
        raise Broken("the grader's process sent a reply without its text")
    cut = value[:characters].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return cut.encode("utf-8", "replace").decode()
