"""A pool of sandboxed processes that play the sessions of one environment.

A session that hangs or kills its process costs only its own episode: the other sessions of that process are
restored in another one, by playing their orders again, which must give the same answers.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from workers.environments.backend import EnvironmentFault, SessionLost
from workers.environments.source import EnvironmentClass
from workers.grading import source as grader_source
from workers.grading.results import GradingUnavailable, Limits
from workers.grading.sandbox import find_wall
from workers.grading.sandbox.process import HUNG, Broken, Process, StartFailed, Zygote

MOST_PROCESSES = 4
SESSIONS_FOR_ANOTHER = 16  # a process with this many sessions is worth another one
LOAD_REMEDY = "Correct the line; the top level of the source must run without help."
Answer = dict[str, Any]
Result = TypeVar("Result")
NOT_DETERMINISTIC = (
    "its process was ended by another session, and playing its calls again gave other results, so the "
    "environment is not deterministic"
)


class Hosted:
    """A session in a process. ``history`` are its orders with a digest of each answer."""

    def __init__(self, number: int) -> None:
        self.number, self.lost = number, ""
        self.line: int | None = None
        self.history: list[tuple[str, int]] = []
        self.seat: _Seat | None = None
        self.suspect = False

    def lose(self, reason: str, line: int | None = None) -> None:
        """Give the session up; the first reason stays. ``line`` is one of the source."""
        if not self.lost:
            self.lost, self.line = reason or "it failed without a message", line

    def build_loss(self) -> SessionLost:
        """Return the exception that says why the session is lost, and in which line."""
        return SessionLost(f"{self.lost} (line {self.line})" if self.line else self.lost)


class Order(NamedTuple, Generic[Result]):
    """An order of a session, as JSON. ``parse`` checks the answer and raises ``Broken`` for a malformed one.

    ``kept`` orders change the session: they are played again when it is restored.
    """

    hosted: Hosted
    text: str
    parse: Callable[[Answer], Result]
    kept: bool = False
    seconds: float | None = None


@dataclass
class _Step:
    """An order that was sent. Without ``index`` nobody waits for its answer: a replay, or a closing."""

    order: Order[Any]
    index: int | None = None
    expected: int | None = None


@dataclass(eq=False)
class _Seat:
    """A process with its sessions. ``alone`` keeps others away from a session that may have killed one."""

    process: Process
    alone: bool = False
    sessions: set[Hosted] = field(default_factory=set)
    unsent: deque[_Step] = field(default_factory=deque)
    pending: deque[_Step] = field(default_factory=deque)
    loaded: bool = False
    since: float = 0.0


class Pool:
    """Plays the orders of many sessions. One thread at a time may use it."""

    def __init__(self, source: str, described: EnvironmentClass, limits: Limits, program: str) -> None:
        self._source, self._described, self._limits, self._program = source, described, limits, program
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="environment-spawner")
        self._zygote: Zygote | None = None
        self._seats: list[_Seat] = []
        self._most = min(MOST_PROCESSES, len(os.sched_getaffinity(0)))
        self._numbers = 0

    def start(self) -> Answer:
        """Start a first process and return its description of the class. Raises ``EnvironmentFault``."""
        try:
            seat = self._new_seat()
            check_available(seat.process.receive(self._limits.load_seconds))
            answer = seat.process.receive(self._limits.load_seconds + self._limits.grace_seconds)
        except GradingUnavailable as error:
            raise EnvironmentFault(error.reason, error.remedy) from error
        except (StartFailed, Broken) as error:
            raise EnvironmentFault(f"the source did not load: {error}", LOAD_REMEDY) from error
        if not isinstance(answer, dict) or "error" in answer:
            raise read_fault(answer if isinstance(answer, dict) else {}, LOAD_REMEDY)
        seat.loaded = True
        return answer

    def new_session(self) -> Hosted:
        """Return a session that has no process yet; its first order finds it one."""
        self._numbers += 1
        return Hosted(self._numbers)

    def end_session(self, hosted: Hosted) -> None:
        """Free a session; its object goes with the next orders of its process."""
        seat, hosted.seat = hosted.seat, None
        hosted.lose("the session is closed")
        if seat is None:
            return
        seat.sessions.discard(hosted)
        if seat.alone and not seat.sessions:
            self._retire(seat)
        else:
            seat.unsent.append(_Step(Order(Hosted(hosted.number), f'["close",{hosted.number}]', dict)))

    def run(self, orders: Sequence[Order[Result]]) -> list[Result | SessionLost]:
        """Play orders of different sessions at the same time; answers in their order."""
        answers: list[Result | SessionLost | None] = [None] * len(orders)
        for index, order in enumerate(orders):
            self._enqueue(order, index, answers)
        while any(answer is None for answer in answers):
            for seat in [seat for seat in self._seats if seat.unsent]:
                self._send(seat, answers)
            self._collect(answers)
        return [answer for answer in answers if answer is not None]

    def close(self) -> None:
        """End all processes."""
        for seat in list(self._seats):
            self._retire(seat)
        self._end_zygote()
        self._spawner.shutdown()

    def _end_zygote(self) -> None:
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    # --- processes -------------------------------------------------------------------------------

    def _new_seat(self) -> _Seat:
        """Start a process, which loads the source meanwhile."""
        if self._zygote is None:
            warm = grader_source.warm_imports(self._source)
            self._zygote = Zygote(find_wall(), self._limits, warm, self._spawner, self._program)
        seat = _Seat(self._zygote.fork(), since=time.monotonic())
        described = self._described
        load = {
            "source": self._source,
            "name": described.name,
            "alone": described.shares_state,
            "optional": sorted(described.optional),
        }
        seat.process.send(json.dumps(load).encode())
        self._seats.append(seat)
        return seat

    def _find_seat(self, hosted: Hosted) -> _Seat:
        """Return the process with the fewest sessions, or a new one. Raises ``StartFailed``, ``Broken``."""
        if hosted.suspect:
            hosted.suspect, seat = False, self._new_seat()
            seat.alone = True
            return seat
        seats = [seat for seat in self._seats if not seat.alone]
        best = min(seats, key=lambda seat: len(seat.sessions), default=None)
        if best is None or (len(best.sessions) >= SESSIONS_FOR_ANOTHER and len(seats) < self._most):
            return self._new_seat()
        return best

    def _retire(self, seat: _Seat) -> None:
        """End a process; its sessions are restored in another one when they are played again."""
        seat.process.close()
        self._seats.remove(seat)
        for hosted in seat.sessions:
            hosted.seat = None

    # --- orders ----------------------------------------------------------------------------------

    def _enqueue(self, order: Order[Any], index: int, answers: list[Any]) -> None:
        """Queue an order, after those that restore its session if that has lost its process."""
        hosted = order.hosted
        if hosted.seat is None and not hosted.lost:
            self._restore(hosted)
        if hosted.lost or hosted.seat is None:
            answers[index] = hosted.build_loss()
        else:
            hosted.seat.unsent.append(_Step(order, index))

    def _restore(self, hosted: Hosted) -> None:
        try:
            hosted.seat = self._find_seat(hosted)
        except (StartFailed, Broken) as error:
            hosted.lose(f"no process could be started for it: {error}")
            self._end_zygote()
            return
        hosted.seat.sessions.add(hosted)
        for text, digest in hosted.history:
            hosted.seat.unsent.append(_Step(Order(hosted, text, dict), expected=digest))

    def _send(self, seat: _Seat, answers: list[Any]) -> None:
        """Send a seat's queued orders in one write."""
        steps = list(seat.unsent)
        seat.unsent.clear()
        if not seat.pending and seat.loaded:
            seat.since = time.monotonic()
        seat.pending.extend(steps)
        try:
            seat.process.send(f"[{','.join([step.order.text for step in steps])}]".encode())
        except Broken as error:
            self._replace(seat, error, answers)

    def _collect(self, answers: list[Any]) -> None:
        """Wait until a process answers, or takes too long."""
        poll = select.poll()
        by_descriptor: dict[int, _Seat] = {}
        busy = [seat for seat in self._seats if seat.pending]
        for seat in busy:
            poll.register(seat.process, select.POLLIN)
            by_descriptor[seat.process.fileno()] = seat
            if seat.process.unsent:
                poll.register(seat.process.requests, select.POLLOUT)
                by_descriptor[seat.process.requests] = seat
        nearest = min((self._find_deadline(seat) for seat in busy), default=time.monotonic())
        ready = poll.poll(max(0.0, nearest - time.monotonic()) * 1000)
        for seat in {id(by_descriptor[d]): by_descriptor[d] for d, _ in ready}.values():
            self._read_answers(seat, answers)
        now = time.monotonic()
        for seat in [seat for seat in busy if seat in self._seats and seat.pending]:
            if self._find_deadline(seat) <= now:
                self._replace(seat, Broken(HUNG), answers, at_fault=True)

    def _find_deadline(self, seat: _Seat) -> float:
        own = seat.pending[0].order.seconds if seat.loaded else self._limits.load_seconds
        return seat.since + (own or self._limits.item_seconds) + self._limits.grace_seconds

    def _read_answers(self, seat: _Seat, answers: list[Any]) -> None:
        try:
            seat.process.push()
            for answer in seat.process.replies():
                if not isinstance(answer, dict):
                    raise Broken("the process sent an answer in no known form")
                if not seat.loaded:
                    self._handle_start(seat, answer)
                elif self._take_answer(seat, answer, answers):
                    self._replace(seat, Broken("retired"), answers, blame=False)
                    return
        except Broken as error:
            self._replace(seat, error, answers)

    def _handle_start(self, seat: _Seat, answer: Answer) -> None:
        """Take the layers, then the result of loading."""
        if "layers" in answer:
            return
        if "system_prompt" not in answer:
            raise Broken(f"the source did not load in a new process: {answer.get('error')}")
        seat.loaded, seat.since = True, time.monotonic()

    def _take_answer(self, seat: _Seat, answer: Answer, answers: list[Any]) -> bool:
        """Take the answer to the current order. Return True if the process is used up.

        Raises ``Broken`` for an answer that nobody asked for, or that is malformed.
        """
        if not seat.pending:
            raise Broken("the process sent an answer without an order")
        step = seat.pending[0]
        hosted = step.order.hosted
        result: Any = None
        if "error" in answer:
            fault = read_fault(answer, "")
            hosted.lose(fault.cause, fault.line)
        elif step.expected is not None:
            if digest(answer) != step.expected:
                hosted.lose(NOT_DETERMINISTIC)
        elif not hosted.lost:
            result = step.order.parse(answer)
            if step.order.kept:
                hosted.history.append((step.order.text, digest(answer)))
        seat.pending.popleft()
        seat.since = time.monotonic()
        if step.index is not None:
            answers[step.index] = hosted.build_loss() if hosted.lost else result
        return bool(answer.get("spent"))

    def _replace(
        self, seat: _Seat, error: Broken, answers: list[Any], at_fault: bool = False, blame: bool = True
    ) -> None:
        """End a dead, stuck or used-up process, and play its orders in another one.

        The session of the current order is lost if it took too long, or was alone in the process; else it is
        played again by itself, so that it is not blamed for what another one left behind.
        """
        steps = [*seat.pending, *seat.unsent]
        if blame and seat.pending:
            suspect = seat.pending[0].order.hosted
            if at_fault or not seat.loaded or seat.alone or len(seat.sessions) < 2:
                suspect.lose(str(error))
            suspect.suspect = True
        if not seat.loaded:
            for hosted in seat.sessions:
                hosted.lose(str(error))
        self._retire(seat)
        for step in steps:
            if step.index is not None:
                self._enqueue(step.order, step.index, answers)


def check_available(answer: object) -> None:
    """Raise ``GradingUnavailable`` if a process reports that its kernel lacks the inner wall."""
    if isinstance(answer, dict) and "unavailable" in answer:
        reason, remedy = [*map(str, answer["unavailable"]), "", ""][:2]
        raise GradingUnavailable(reason, remedy)


def read_fault(answer: Answer, remedy: str) -> EnvironmentFault:
    """Return the fault that an answer with an error tells of."""
    line = answer.get("line")
    cause = str(answer.get("error", "the process sent an answer in no known form")).strip().rstrip(".")
    return EnvironmentFault(cause, remedy, line if type(line) is int else None)


def digest(answer: Answer) -> int:
    """Return a number that tells two different answers apart; times do not count."""
    return hash(tuple(repr(answer.get(name)) for name in ("text", "failed", "reward", "finished")))
