"""Batching: rows that arrive at about the same time are generated together, by one thread."""

from __future__ import annotations

import threading
import time
from collections import deque

from workers.engine.base_model.models import Base
from workers.engine.sampling.batches import BATCH
from workers.serve.generate import Row, generate

COLLECT_SECONDS = 0.005
COLLECT_ROUNDS = 10
BATCH_TOKENS = 65_536  # rows times the longest prompt, which determine the cache's memory


class Batcher:
    """Generates rows in batches, in the order of their arrival."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._queue: deque[Row] = deque()
        self._changed = threading.Condition()
        self.batches = 0
        threading.Thread(target=self._run, name="generation", daemon=True).start()

    def submit(self, rows: list[Row]) -> None:
        """Queue rows; each ``future`` is set when its completion ends."""
        with self._changed:
            self._queue.extend(rows)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            self._collect()
            batch = self._take_batch()
            if not batch:
                continue
            self.batches += 1
            try:
                generate(self._base, batch)
            except Exception as error:
                for row in batch:
                    row.settle(error)

    def _collect(self) -> None:
        """Wait for a row, and then as long as more arrive, 50 ms at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue)
        for _ in range(COLLECT_ROUNDS):
            before = len(self._queue)
            time.sleep(COLLECT_SECONDS)
            if len(self._queue) in (before, BATCH):
                return

    def _take_batch(self) -> list[Row]:
        """Return the rows at the head of the queue that fit into one batch, without cancelled ones."""
        batch: list[Row] = []
        longest = 0
        with self._changed:
            while self._queue and len(batch) < BATCH:
                longest = max(longest, len(self._queue[0].prompt))
                if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
                    break
                row = self._queue.popleft()
                if not row.future.done():
                    batch.append(row)
        return batch
