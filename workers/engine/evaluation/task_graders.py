"""Several tasks, one adapter: each row is graded by its task's grader and evaluated among its task's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from workers.contract.spec import JobSpec
from workers.engine import errors
from workers.engine.prompts.data import Item, Row, choose
from workers.grading import GradeAnswers, GradeResult, Judges, compares_answers, open_graders


@contextmanager
def open_by_task(spec: JobSpec, judges: Judges) -> Iterator[GradeAnswers]:
    """One function that grades every answer by its row's task; rows without a task have ``spec.grader``.

    Raises what ``open_grader`` raises.
    """
    graders = {name: task.grader for name, task in spec.tasks.items()}
    twin = next((name for name, grader in graders.items() if grader == spec.grader), "")
    wanted = graders if twin else {**graders, "": spec.grader}
    with open_graders(wanted, seed=spec.seed, judges=judges) as opened:
        yield ByTask(opened | {"": opened[twin]}) if graders else opened[""]


@dataclass(frozen=True)
class ByTask:
    """Grades each answer by the grader of its item's task; parts of rewards are named ``task/part``."""

    graders: dict[str, GradeAnswers]

    def __call__(
        self, answers: Sequence[tuple[str, dict[str, Any]]], groups: Sequence[str] | None = None
    ) -> list[GradeResult]:
        named = groups or [str(number) for number in range(len(answers))]
        places: dict[str, list[int]] = {}
        for place, (_, item) in enumerate(answers):
            places.setdefault(task_of(item), []).append(place)
        results: dict[int, GradeResult] = {}
        for task, members in places.items():
            graded = self.graders[task]([answers[at] for at in members], [named[at] for at in members])
            results |= zip(members, (_labelled(task, result) for result in graded), strict=True)
        return [results[place] for place in range(len(answers))]


def task_of(item: dict[str, Any]) -> str:
    """The task that a row's item belongs to; empty for a row without one."""
    return item.task if isinstance(item, Item) else ""


def _labelled(task: str, result: GradeResult) -> GradeResult:
    if not task or not result.sub_rewards:
        return result
    return replace(
        result, sub_rewards={f"{task}/{part}": worth for part, worth in result.sub_rewards.items()}
    )


def compares(spec: JobSpec) -> bool:
    """Whether any grader of the job compares answers with each other."""
    return any(map(compares_answers, [spec.grader, *(task.grader for task in spec.tasks.values())]))


def check(spec: JobSpec, splits: dict[str, list[Row]]) -> None:
    """Raises ``EngineError`` for a row of a task unknown to the job, and for a task without train rows."""
    for split, rows in splits.items():
        for row in rows:
            if row.task and row.task not in spec.tasks:
                raise errors.unknown_task(split, row.row_id, row.task, list(spec.tasks))
    if missing := spec.tasks.keys() - {row.task for row in splits["train"]}:
        raise errors.task_without_rows(sorted(missing))


def choose_each(rows: list[Row], limit: int, seed: int) -> list[Row]:
    """At most ``limit`` rows of every task, in file order; the same ones whichever other tasks there are."""
    kept = {
        id(row)
        for task in {row.task for row in rows}
        for row in choose([row for row in rows if row.task == task], limit, seed)
    }
    return [row for row in rows if id(row) in kept]
