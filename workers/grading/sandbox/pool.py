"""A warm pool of sandboxed processes for one source: grades batches, replaces a process that is spent."""

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
from typing import Any, NamedTuple, Self, get_args

from workers.contract.events import GradingErrorClass
from workers.grading.results import GradingUnavailable, Limits
from workers.grading.sandbox.process import Broken, Process, Reply, StartFailed, Zygote, hung
from workers.grading.sandbox.walls import Wall
from workers.grading.source import keeps_state, warm_imports

ERROR_CLASSES = get_args(GradingErrorClass)
MOST_PROCESSES = 4
ITEMS_FOR_ANOTHER = 16  # a batch this long is worth one more process


class Request(NamedTuple):
    """One item as it is sent: the answer and its row as JSON, ``[text, item``, and the seed of its dice."""

    told: str
    seed: int

    def frame(self) -> str:
        return f"{self.told},{self.seed}]"


class Outcome(NamedTuple):
    """One item's verdict: a finite reward, or the class and the detail of what went wrong."""

    reward: float | None
    error_class: GradingErrorClass | None = None
    detail: str | None = None
    stdout: str = ""
    seconds: float = 0.0
    sub_rewards: Mapping[str, float | None] = MappingProxyType({})


class _NotLoaded(Exception):
    """The source's top level failed; ``outcome`` is what every item gets."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


@dataclass
class _Seat:
    """A process at work. ``under_way`` are the places of the items that it was sent, in order.

    ``fresh`` until it has graded something. ``since`` is when the item at hand, or loading, began.
    """

    process: Process
    under_way: deque[int] = field(default_factory=deque)
    loaded: bool = False
    fresh: bool = True
    since: float = 0.0


class Sandbox:
    """Use as a context manager. One sandbox runs one source; nothing is shared with another.

    An item that kills or hangs its process costs only itself: a process reports item by item, and the rest
    goes on in another. An item is blamed for a death only if it dies first in a fresh process. A source that
    keeps state is given every item in a process of its own, so that no verdict depends on another item.
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
        """Starts the zygote and a first process; names the layers around it.

        Raises ``StartFailed``, or ``GradingUnavailable`` if the kernel lacks the inner wall.
        """
        process = self._fork()
        try:
            reply = process.receive(self._limits.load_seconds)
        except Broken as error:
            raise StartFailed(str(error)) from error
        if not isinstance(reply, dict):
            raise StartFailed("the sandbox's first process said nothing of its layers")
        if "unavailable" in reply:
            raise GradingUnavailable(*reply["unavailable"])
        assert self._zygote is not None
        process.send(self._loading())
        self._seats.append(_Seat(process, since=time.monotonic()))
        return [*self._zygote.layers, *reply["layers"]]

    def grade(self, requests: Sequence[Request]) -> list[Outcome]:
        """The verdicts in the order of ``requests``."""
        outcomes: dict[int, Outcome] = {}
        waiting = deque(range(len(requests)))
        try:
            if not self._seats:
                self.start()
            while len(outcomes) < len(requests):
                self._seat(len(waiting))
                self._hand_out(outcomes, waiting, requests)
                self._collect(outcomes, waiting)
        except _NotLoaded as failure:
            self._close()
            return [outcomes.get(place, failure.outcome) for place in range(len(requests))]
        except (StartFailed, GradingUnavailable) as error:
            self._close()
            lost = Outcome(None, "python_grader_server_error", str(error))
            return [outcomes.get(place, lost) for place in range(len(requests))]
        return [outcomes[place] for place in range(len(requests))]

    # --- processes -------------------------------------------------------------------------------

    def _fork(self) -> Process:
        if self._zygote is None:
            self._zygote = Zygote(self._wall, self._limits, warm_imports(self._source), self._spawner)
        return self._zygote.fork()

    def _seat(self, waiting: int) -> None:
        """As many processes as the work is worth; the new ones lock themselves in and load meanwhile."""
        worth = waiting if self._alone else -(-waiting // ITEMS_FOR_ANOTHER)
        busy = sum(bool(seat.under_way) for seat in self._seats)
        while len(self._seats) < min(self._most, max(1, busy + worth)):
            process = self._fork()
            process.send(self._loading())
            self._seats.append(_Seat(process, since=time.monotonic()))

    def _loading(self) -> bytes:
        return json.dumps({"source": self._source}).encode()

    def _hand_out(
        self, outcomes: dict[int, Outcome], waiting: deque[int], requests: Sequence[Request]
    ) -> None:
        """The next items, shared among the processes that have none."""
        idle = [seat for seat in self._seats if not seat.under_way]
        for number, seat in enumerate(idle):
            if not waiting:
                return
            share = 1 if self._alone else -(-len(waiting) // (len(idle) - number))
            for _ in range(min(share, self._limits.batch_items)):
                seat.under_way.append(waiting.popleft())
            if seat.loaded:
                seat.since = time.monotonic()
            batch = ",".join([requests[place].frame() for place in seat.under_way])
            try:
                seat.process.send(f"[{batch}]".encode())
            except Broken as error:
                self._lost(seat, error, outcomes, waiting)

    def _collect(self, outcomes: dict[int, Outcome], waiting: deque[int]) -> None:
        """Waits until some process has something to say, or takes too long."""
        poll = select.poll()
        by_descriptor: dict[int, _Seat] = {}
        for seat in self._seats:
            poll.register(seat.process, select.POLLIN)
            by_descriptor[seat.process.fileno()] = seat
            if seat.process.unsent:
                poll.register(seat.process.requests, select.POLLOUT)
                by_descriptor[seat.process.requests] = seat
        nearest = min((self._deadline(s) for s in self._seats if s.under_way), default=time.monotonic())
        told = poll.poll(max(0.0, nearest - time.monotonic()) * 1000)
        for seat in {id(by_descriptor[d]): by_descriptor[d] for d, _ in told}.values():
            self._listen(seat, outcomes, waiting)
        now = time.monotonic()
        for seat in [s for s in self._seats if s.under_way and self._deadline(s) <= now]:
            self._lost(seat, Broken(hung()), outcomes, waiting, at_fault=True)

    def _deadline(self, seat: _Seat) -> float:
        seconds = self._limits.item_seconds if seat.loaded else self._limits.load_seconds
        return seat.since + seconds + self._limits.grace_seconds

    def _listen(self, seat: _Seat, outcomes: dict[int, Outcome], waiting: deque[int]) -> None:
        try:
            seat.process.push()
            for reply in seat.process.replies():
                if self._greeted(seat, reply):
                    continue
                self._take(seat, reply, outcomes)
                if self._alone or (isinstance(reply, dict) and reply.get("spent")):
                    self._retire(seat, waiting)
                    return
        except Broken as error:
            self._lost(seat, error, outcomes, waiting)

    def _greeted(self, seat: _Seat, reply: Reply) -> bool:
        """Whether the reply is one of those before the first verdict: the layers, then the source's load."""
        if seat.loaded:
            return False
        if isinstance(reply, dict) and "unavailable" in reply:
            raise GradingUnavailable(*reply["unavailable"])
        if isinstance(reply, list) or "layers" not in reply:
            outcome = _outcome(reply, self._limits)
            if outcome.error_class:
                raise _NotLoaded(outcome)
            seat.loaded, seat.since = True, time.monotonic()
        return True

    def _take(self, seat: _Seat, reply: Reply, outcomes: dict[int, Outcome]) -> None:
        """The verdict on the item at hand. Raises ``Broken`` if nothing was asked, or if it is none."""
        if not seat.under_way:
            raise Broken("the grader's process said something that nobody asked for")
        outcomes[seat.under_way[0]] = _outcome(reply, self._limits)
        seat.under_way.popleft()
        seat.fresh, seat.since = False, time.monotonic()

    def _lost(
        self,
        seat: _Seat,
        error: Broken,
        outcomes: dict[int, Outcome],
        waiting: deque[int],
        at_fault: bool = False,
    ) -> None:
        """A process is gone or must go; its item is to blame if it was the first one or took too long."""
        if not seat.loaded:
            raise _NotLoaded(_runtime_error(f"while loading the source: {error}"))
        if seat.under_way and (seat.fresh or at_fault):
            outcomes[seat.under_way.popleft()] = _runtime_error(str(error))
        self._retire(seat, waiting)

    def _retire(self, seat: _Seat, waiting: deque[int]) -> None:
        """Ends a process; what it had not come to is graded by another, in the old order."""
        waiting.extendleft(reversed(seat.under_way))
        seat.process.close()
        self._seats.remove(seat)

    def _close(self) -> None:
        for seat in self._seats:
            seat.process.close()
        self._seats.clear()
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None


def _runtime_error(detail: str) -> Outcome:
    return Outcome(None, "python_grader_runtime_error", detail)


def _outcome(reply: Reply, limits: Limits) -> Outcome:
    """A reply, believed in nothing but its form. Raises ``Broken``."""
    if isinstance(reply, list):
        return Outcome(_finite(reply[0]), seconds=_finite(reply[1]))
    seconds = _finite(reply.get("seconds"))
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
    if value == "":
        return ""
    if not isinstance(value, str):
        raise Broken("the grader's process sent a reply without its text")
    kept = value[:characters].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return kept.encode("utf-8", "replace").decode()
