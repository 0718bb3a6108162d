"""Graders of jobs with several tasks: each row is graded by its task's grader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from workers.contract.json_types import JsonObject
from workers.contract.spec import JobSpec
from workers.engine import errors
from workers.engine.prompts.data import Item, Row, sample_rows
from workers.grading import GradeAnswers, GradeResult, Judges, compares_answers, open_graders


@contextmanager
def open_by_task(spec: JobSpec, judges: Judges) -> Iterator[GradeAnswers]:
    """Open a function that grades each completion by its row's task, or else by ``spec.grader``.

    Raises what ``open_grader`` raises.
    """
    graders = {name: task.grader for name, task in spec.tasks.items()}
    same = next((name for name, grader in graders.items() if grader == spec.grader), "")
    needed = graders if same else {**graders, "": spec.grader}
    with open_graders(needed, seed=spec.seed, judges=judges) as opened:
        yield ByTask(opened | {"": opened[same]}) if graders else opened[""]


@dataclass(frozen=True)
class ByTask:
    """Grades each completion by the grader of its item's task. Sub-rewards are named ``task/name``."""

    graders: dict[str, GradeAnswers]

    def __call__(
        self, answers: Sequence[tuple[str, JsonObject]], groups: Sequence[str] | None = None
    ) -> list[GradeResult]:
        names = groups or [str(number) for number in range(len(answers))]
        indices: dict[str, list[int]] = {}
        for index, (_, item) in enumerate(answers):
            indices.setdefault(get_task(item), []).append(index)
        results: dict[int, GradeResult] = {}
        for task, members in indices.items():
            graded = self.graders[task]([answers[i] for i in members], [names[i] for i in members])
            results |= zip(members, (_prefix_sub_rewards(task, result) for result in graded), strict=True)
        return [results[index] for index in range(len(answers))]


def get_task(item: Mapping[str, object]) -> str:
    """Return the task of a row's item; empty for a row without one."""
    return item.task if isinstance(item, Item) else ""


def _prefix_sub_rewards(task: str, result: GradeResult) -> GradeResult:
    if not task or not result.sub_rewards:
        return result
    return replace(
        result, sub_rewards={f"{task}/{name}": value for name, value in result.sub_rewards.items()}
    )


def any_compares(spec: JobSpec) -> bool:
    """Return True if any grader of the job compares completions with each other."""
    return any(map(compares_answers, [spec.grader, *(task.grader for task in spec.tasks.values())]))


def check_tasks(spec: JobSpec, splits: dict[str, list[Row]]) -> None:
    """Raise ``EngineError`` for a row of an unknown task, and for a task without training rows."""
    for split, rows in splits.items():
        for row in rows:
            if row.task and row.task not in spec.tasks:
                raise errors.unknown_task(split, row.row_id, row.task, list(spec.tasks))
    if missing := spec.tasks.keys() - {row.task for row in splits["train"]}:
        raise errors.task_without_rows(sorted(missing))


def sample_each_task(rows: list[Row], limit: int, seed: int) -> list[Row]:
    """Return at most ``limit`` rows of each task, in file order. Other tasks do not influence which."""
    selected = {
        id(row)
        for task in {row.task for row in rows}
        for row in sample_rows([row for row in rows if row.task == task], limit, seed)
    }
    return [row for row in rows if id(row) in selected]
