"""Continuous batching: rows join and leave at any token, and prompts are read in parts between the tokens."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from workers.engine.sampling.batches import BATCH
from workers.serve.rows import Group, Row
from workers.serve.runners import Chunk, Prefix, Runner
from workers.serve.sampling import sample

BATCH_TOKENS = 131_072  # rows times the longest of them at its limit, which bounds the cache's memory
PROMPT_TOKENS = 65_536  # tokens of prompts that are being read or wait for a free row
GROUP_ROWS = BATCH * 3 // 4  # rows of one request, so that others find room
LEAST_CHUNK, LARGEST_CHUNK = 16, 2048  # prompt tokens of a step
LIVE_SECONDS, IDLE_SECONDS = 0.1, 0.4  # length of a step with prompts: while rows generate, and otherwise
FIRST_SPEED = 1000.0  # prompt tokens a second, until it is measured
WARM_UP = 64  # tokens


@dataclass(eq=False)
class Reading:
    """A group whose prompt is being read, or whose rows wait to join; then ``logits`` are (1, vocabulary)."""

    group: Group
    prefix: Prefix
    logits: torch.Tensor | None = None

    @property
    def left(self) -> int:
        """Tokens of the prompt that have not been read."""
        return len(self.group.prompt) - self.prefix.length

    @property
    def width(self) -> int:
        """Largest number of tokens of a row, prompt included."""
        return len(self.group.prompt) + self.group.rows[0].settings.limit


@dataclass(frozen=True, eq=False)
class Member:
    """A row that generates."""

    row: Row
    group: Group
    width: int


class Batcher:
    """Generates completions in one thread, in the order of arrival. ``steps`` counts forward passes."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._queue: deque[Group] = deque()
        self._changed = threading.Condition()
        self._readings: list[Reading] = []
        self._members: list[Member] = []
        self._speed = FIRST_SPEED
        self._outbox: list[tuple[asyncio.AbstractEventLoop, Callable[..., Any], Any]] = []
        self.steps = 0

    def start(self) -> None:
        """Measure the model's speed and begin to generate."""
        for _ in range(2):
            began = time.perf_counter()
            self._runner.step([], [Chunk(Prefix(None), [0] * WARM_UP, last=True)])
            self._speed = WARM_UP / (time.perf_counter() - began)
        threading.Thread(target=self._run, name="generation", daemon=True).start()

    @property
    def rows(self) -> int:
        """Number of rows that generate."""
        return len(self._members)

    def submit(self, group: Group) -> None:
        """Queue a group; each row's ``future`` is set when its completion ends."""
        with self._changed:
            self._queue.append(group)
            self._changed.notify()

    def post(self, loop: asyncio.AbstractEventLoop, receive: Callable[..., Any], event: Any) -> None:
        """Call ``receive(event)`` in an event loop after this step. For ``Row.on_token``."""
        self._outbox.append((loop, receive, event))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._readings or self._members)
            try:
                self.run_step()
            except Exception as error:
                self._fail(error)
            self._deliver()

    def _fail(self, error: Exception) -> None:
        """Fail everything that is generated or read; the queue goes on."""
        for group in [member.group for member in self._members] + [each.group for each in self._readings]:
            group.settle(error)
        for member in self._members:
            member.row.settle(error)
        self._members, self._readings = [], []
        self._runner.reset()

    def _deliver(self) -> None:
        """Pass on the events of a step, with one wake-up of the event loop."""
        events, self._outbox = self._outbox, []
        if events:
            events[0][0].call_soon_threadsafe(_receive_all, events)

    # --- one step ----------------------------------------------------------------------------------

    def run_step(self) -> None:
        """Read parts of prompts, add a token to every row, let rows join and leave."""
        self._drop_cancelled()
        self._admit()
        chunks = self._plan_chunks()
        logits = self._forward(chunks) if self._members or chunks else []
        self._sample(logits)
        self._drop_cancelled()

    def _forward(self, chunks: list[tuple[Reading, Chunk]]) -> list[torch.Tensor]:
        """Run the model; return the logits of the rows, and give the whole prompts theirs."""
        rows = len(self._members)
        began = time.perf_counter()
        logits = self._runner.step(
            [member.row.ids[-1] for member in self._members], [chunk for _, chunk in chunks]
        )
        self.steps += 1
        if chunks:
            tokens = rows + sum(len(chunk.ids) for _, chunk in chunks)
            self._speed += 0.3 * (tokens / (time.perf_counter() - began) - self._speed)
        whole = [reading for reading, chunk in chunks if chunk.last]
        for reading, own in zip(whole, logits[rows:], strict=True):
            reading.logits = own[None]
        return [logits[:rows]] if rows else []

    def _sample(self, logits: list[torch.Tensor]) -> None:
        """Give a token to every row, those that join now included."""
        for reading, count in self._join():
            assert reading.logits is not None
            logits = [*logits, reading.logits.expand(count, -1)]
        if not self._members:
            return
        with torch.inference_mode():
            tokens = sample(torch.cat(logits), [member.row for member in self._members])
        for member, (token, scores) in zip(self._members, tokens, strict=True):
            member.row.add(token, scores)

    def _drop_cancelled(self) -> None:
        """Remove finished rows and those whose client has left."""
        left = [number for number, member in enumerate(self._members) if not member.row.future.done()]
        if len(left) < len(self._members):
            order = _fill_gaps(left, len(self._members))
            self._runner.keep(order)
            self._members = [self._members[number] for number in order]
        for reading in self._readings:
            reading.group.drop_cancelled()
        self._readings = [reading for reading in self._readings if reading.group.rows]

    def _admit(self) -> None:
        """Begin to read prompts of the queue, as long as they fit."""
        with self._changed:
            while self._queue:
                tokens = sum(len(reading.group.prompt) for reading in self._readings)
                if self._readings and tokens + len(self._queue[0].prompt) > PROMPT_TOKENS:
                    return
                group = self._queue.popleft()
                group.drop_cancelled()
                if group.rows:
                    self._readings.append(Reading(group, Prefix(group.adapter)))

    def _plan_chunks(self) -> list[tuple[Reading, Chunk]]:
        """Choose the parts of prompts to read in this step.

        The oldest prompt gets half, the rest goes to the shortest ones: a long prompt delays nobody for long,
        and short ones do not stop a long one.
        """
        unread = [reading for reading in self._readings if reading.left]
        if not unread:
            return []
        seconds = LIVE_SECONDS if self._members else IDLE_SECONDS
        budget = int(min(max(self._speed * seconds, LEAST_CHUNK), LARGEST_CHUNK))
        oldest, others = unread[0], sorted(unread[1:], key=lambda reading: reading.left)
        sizes = {oldest: min(oldest.left, budget // 2 if others else budget)}
        for reading in [*others, oldest]:
            given = sizes.get(reading, 0)
            sizes[reading] = given + min(reading.left - given, budget - sum(sizes.values()))
        return [(reading, _build_chunk(reading, size)) for reading, size in sizes.items() if size]

    def _join(self) -> list[tuple[Reading, int]]:
        """Let rows of whole prompts join, one of each group in turn; return how many of each."""
        waiting = deque(reading for reading in self._readings if reading.logits is not None)
        counts: dict[Reading, int] = {}
        while waiting:
            reading = waiting.popleft()
            count = counts.get(reading, 0)
            if count == len(reading.group.rows) or not self._may_add(reading.group, count):
                continue
            if not self._has_room(reading.width, sum(counts.values())):
                break
            counts[reading] = count + 1
            waiting.append(reading)
        for reading, count in counts.items():
            self._runner.join(reading.prefix, count)
            width = reading.width
            self._members += [Member(row, reading.group, width) for row in reading.group.take(count)]
        self._readings = [reading for reading in self._readings if reading.group.rows]
        return list(counts.items())

    def _has_room(self, width: int, joining: int) -> bool:
        rows = len(self._members) + joining + 1
        widest = max([width, *(member.width for member in self._members)])
        return rows == 1 or (rows <= BATCH and rows * widest <= BATCH_TOKENS)

    def _may_add(self, group: Group, joining: int) -> bool:
        return joining + sum(member.group is group for member in self._members) < GROUP_ROWS


def _build_chunk(reading: Reading, size: int) -> Chunk:
    begin = reading.prefix.length
    ids = reading.group.prompt[begin : begin + size]
    return Chunk(reading.prefix, ids, last=size == reading.left)


def _fill_gaps(left: list[int], rows: int) -> list[int]:
    """Return an order of the rows that are left in which the last ones fill the gaps."""
    moving = [number for number in left if number >= len(left)]
    staying = set(left)
    return [number if number in staying else moving.pop() for number in range(len(left))]


def _receive_all(events: list[tuple[asyncio.AbstractEventLoop, Callable[..., Any], Any]]) -> None:
    for _, receive, event in events:
        receive(event)
