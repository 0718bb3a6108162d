"""Balance of several tasks: prompts in proportion to weights, advantages on each task's own scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from statistics import fmean, stdev
from typing import Any, TypeVar

from trl.trainer.utils import RepeatSampler

from workers.contract.spec import JobSpec
from workers.engine.prompts.data import Row

K = TypeVar("K")
LEAST_SCALE = 1e-4  # added to standard deviations, as in TRL


@dataclass(frozen=True)
class Balance:
    """``rows`` are the dataset indices of each task's rows, ``weights`` the tasks' shares of a step."""

    rows: dict[str, list[int]]
    weights: dict[str, float]

    @classmethod
    def create(cls, spec: JobSpec, rows: Sequence[Row]) -> Balance | None:
        """Return the balance of a job's training rows; ``None`` for a job without tasks."""
        if not spec.tasks:
            return None
        indices: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            indices.setdefault(row.task, []).append(index)
        return cls(indices, {task: spec.tasks[task].weight if task else 1.0 for task in indices})

    def iterate_steps(self, each: int, seed: int) -> Iterator[list[int]]:
        """Yield without end the ``each`` rows of every step, all different within a step.

        A task's own sequence depends on the seed and its name alone, so a job with this task alone sees the
        same prompts in the same order.
        """
        draws = {task: _EndlessRows(rows, Random(f"{seed} {task}")) for task, rows in self.rows.items()}  # noqa: S311
        names = list(self.rows)
        limits = [len(self.rows[name]) for name in names]
        for counts in schedule_prompts([self.weights[name] for name in names], limits, each):
            yield [row for name, count in zip(names, counts, strict=True) for row in draws[name].take(count)]


def schedule_prompts(weights: Sequence[float], limits: Sequence[int], each: int) -> Iterator[list[int]]:
    """Yield without end how many of a step's ``each`` prompts every task gets.

    Each prompt goes to the task that is furthest behind its share, so shares hold over any few steps (smooth
    weighted round robin). A task gets at most its ``limits`` in a step; the other tasks get the rest.
    """
    behind = [0.0] * len(weights)
    while True:
        counts = [0] * len(weights)
        for _ in range(each):
            behind = [owed + weight for owed, weight in zip(behind, weights, strict=True)]
            free = [task for task, count in enumerate(counts) if count < limits[task]]
            task = max(free, key=lambda index: (behind[index], -index))
            behind[task] -= sum(weights)
            counts[task] += 1
        yield counts


class _EndlessRows:
    """A task's rows, repeated without end, in a new order each time."""

    def __init__(self, rows: list[int], random: Random) -> None:
        self._rows, self._random, self._left = rows, random, list[int]()

    def take(self, count: int) -> list[int]:
        """Return the next rows, all different; ``count`` is at most the number of rows."""
        taken, self._left = self._left[:count], self._left[count:]
        missing = count - len(taken)
        if missing:
            order = self._random.sample(self._rows, len(self._rows))
            order.sort(key=lambda row: row in taken)  # rows that this step already has come last
            taken, self._left = taken + order[:missing], order[missing:]
        return taken


class TaskSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's sampler with balanced steps.

    Epoch e is the e-th slice of one endless sequence, so the order depends on seed and epoch alone. All rows
    of a task are used before one is used again.
    """

    def __init__(self, *args: Any, balance: Balance, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.balance, self.epoch = balance, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        steps = self.num_samples // self.batch_size
        sequence = self.balance.iterate_steps(self.batch_size, self.seed)
        for rows in islice(sequence, self.epoch * steps, (self.epoch + 1) * steps):
            for _ in range(self.repeat_count):
                for row in rows:
                    yield from [row] * self.mini_repeat_count


def compute_advantages(
    rewards: Sequence[float | None], groups: Sequence[int], tasks: Sequence[str]
) -> list[float]:
    """Return (reward - group's mean) / standard deviation of the task's rewards; 0 where no reward is known.

    Divided by the deviation of the whole batch, a task with widely spread rewards would leave the others
    nearly no advantage. Each task is therefore normalised on its own (GDPO, arXiv 2601.05242).
    """
    means = {group: fmean(known) for group, known in _collect(groups, rewards).items() if known}
    scales = {
        task: stdev(known) if len(known) > 1 else 0.0 for task, known in _collect(tasks, rewards).items()
    }
    return [
        0.0 if reward is None else (reward - means[group]) / (scales[task] + LEAST_SCALE)
        for reward, group, task in zip(rewards, groups, tasks, strict=True)
    ]


def _collect(keys: Sequence[K], rewards: Sequence[float | None]) -> dict[K, list[float]]:
    """Return the known rewards of each key."""
    known: dict[K, list[float]] = {key: [] for key in keys}
    for key, reward in zip(keys, rewards, strict=True):
        if reward is not None:
            known[key].append(reward)
    return known
