"""Rows that come in at about the same time, generated together by one thread."""

from __future__ import annotations

import threading
import time
from collections import deque

from workers.engine.base_model.models import Base
from workers.engine.sampling.batches import BATCH
from workers.serve.generate import Row, generate

COLLECT_SECONDS = 0.005
COLLECT_ROUNDS = 10
BATCH_TOKENS = 65_536  # rows times the longest prompt: what bounds the cache's memory


class Batcher:
    """Takes rows and generates them in batches, in the order in which they came."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._waiting: deque[Row] = deque()
        self._changed = threading.Condition()
        self.batches = 0
        threading.Thread(target=self._run, name="generation", daemon=True).start()

    def submit(self, rows: list[Row]) -> None:
        """Queues rows; each one's ``future`` is set when its answer ended."""
        with self._changed:
            self._waiting.extend(rows)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            self._collect()
            batch = self._next()
            if not batch:
                continue
            self.batches += 1
            try:
                generate(self._base, batch)
            except Exception as error:
                for row in batch:
                    row.settle(error)

    def _collect(self) -> None:
        """Waits for a row, and then as long as more keep coming, 50 ms at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
        for _ in range(COLLECT_ROUNDS):
            before = len(self._waiting)
            time.sleep(COLLECT_SECONDS)
            if len(self._waiting) in (before, BATCH):
                return

    def _next(self) -> list[Row]:
        """The rows at the head of the queue that fit into one batch, without those nobody waits for."""
        batch: list[Row] = []
        longest = 0
        with self._changed:
            while self._waiting and len(batch) < BATCH:
                longest = max(longest, len(self._waiting[0].prompt))
                if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
                    break
                row = self._waiting.popleft()
                if not row.future.done():
                    batch.append(row)
        return batch
