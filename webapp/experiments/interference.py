"""Interference: jobs with some of the tasks, compared with the job that trained all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

from django.db import transaction
from django.db.models import QuerySet

from webapp.core.statistics import bootstrap_mean
from webapp.jobs.errors import WrongState
from webapp.jobs.launch.request import JobRequest, TaskChoice, task_choices
from webapp.jobs.launch.service import launch
from webapp.jobs.models import ComparedRow, Job
from webapp.jobs.states import State
from webapp.teams.models import User
from workers.contract.spec import JobSettings

FAILED = (State.FAILED, State.CANCELLED)
Names = frozenset[str]  # of tasks that a job trains together


@dataclass(frozen=True)
class Cell:
    """Reward of a task trained together minus alone: mean over rows, with a 95 % interval."""

    task: str
    mean: float
    low: float | None
    high: float | None
    rows: int
    worst: bool = False

    @property
    def harmed(self) -> bool:
        return self.high is not None and self.high < 0

    @property
    def helped(self) -> bool:
        return self.low is not None and self.low > 0


@dataclass(frozen=True)
class MatrixRow:
    """The cells of all tasks when trained with ``others``; None where that is not measured."""

    others: str
    cells: list[Cell | None]


@dataclass(frozen=True)
class Matrix:
    """Rows by the other tasks, columns by ``tasks``; ``alone`` has the rewards when alone."""

    tasks: list[str]
    alone: list[float | None]
    rows: list[MatrixRow]

    @property
    def cells(self) -> list[Cell]:
        return [cell for row in self.rows for cell in row.cells if cell]

    @property
    def worst(self) -> Cell | None:
        """The cell of the task that loses most when all are trained together."""
        return next((cell for cell in self.rows[0].cells if cell and cell.worst), None)


# --- launching -----------------------------------------------------------------------------------


def list_subsets(tasks: list[str], *, pairs: bool) -> list[Names]:
    """Return each task alone, and with ``pairs`` every two; all together are the job itself."""
    sizes = (1, 2) if pairs and len(tasks) > 2 else (1,)
    return [frozenset(names) for size in sizes for names in combinations(tasks, size)]


@transaction.atomic
def launch_interference(job: Job, user: User, *, pairs: bool = False) -> list[Job]:
    """Launch the missing jobs: one for every task alone, with ``pairs`` also one for every two.

    Each samples as many rollouts of its tasks as the whole job did, from the same prompts in the same order,
    and is evaluated on the same rows. Raises ``WrongState``, and ``SettingsInvalid`` if a grader may no
    longer be used.
    """
    if job.tasks.count() < 2 or job.state != State.SUCCEEDED:
        raise WrongState("Interference can be measured once a job with several tasks has succeeded.")
    tasks = task_choices(job)
    return [
        _launch(job, user, [task for task in tasks if task.name in names])
        for names in find_missing_subsets(job, pairs=pairs)
    ]


def find_missing_subsets(job: Job, *, pairs: bool) -> list[Names]:
    """Return the task subsets without a successful or active job."""
    present = _find_parts(job)
    tasks = [task.name for task in job.tasks.all()]
    return [names for names in list_subsets(tasks, pairs=pairs) if names not in present]


def _launch(job: Job, user: User, tasks: list[TaskChoice]) -> Job:
    names = " and ".join(task.name for task in tasks)
    share = sum(task.weight for task in tasks) / sum(task.weight for task in job.tasks.all())
    return launch(
        JobRequest(
            team=job.team,
            user=user,
            name=f"{job.name[:50]}: {names}"[:120],
            base_model=job.base_model,
            tasks=tasks,
            settings=match_settings(job.settings, job.total_steps, share),
            initial_adapter=job.initial_adapter,
            interference_of=job,
        )
    )


def match_settings(settings: JobSettings, steps: int, share: float) -> JobSettings:
    """Return settings for ``share`` of the rollouts, without a preflight or validation runs.

    Where the share is no whole number of prompts, the number of steps makes up for it.
    """
    prompts = settings.grpo.prompts_per_step * share
    each = max(1, round(prompts))
    grpo = {"prompts_per_step": each, "max_steps": max(1, round(steps * prompts / each))}
    return settings.model_copy(
        update={
            "grpo": settings.grpo.model_copy(update=grpo),
            "evaluation": settings.evaluation.model_copy(update={"every": 0}),
            "preflight": settings.preflight.model_copy(update={"rows": 0}),
        }
    )


def _find_parts(job: Job) -> dict[Names, Job]:
    """The newest job of each task subset that has neither failed nor been deleted."""
    runs: QuerySet[Job] = job.interference_runs.alive().exclude(state__in=FAILED)
    parts = runs.order_by("pk").prefetch_related("tasks")
    return {frozenset(task.name for task in part.tasks.all()): part for part in parts}


def list_parts(job: Job) -> list[Job]:
    """Return the jobs that measure interference, the newest of each task subset."""
    return list(_find_parts(job).values())


# --- the matrix ----------------------------------------------------------------------------------


def build_matrix(job: Job) -> Matrix:
    """Return I_ij: reward of task j trained with i minus trained alone, paired by row.

    The first row is all tasks together; two tasks need no further row. See ``docs/tasks.md``.
    """
    tasks = [task.name for task in job.tasks.all()]
    measured = {names: _read_rewards(part) for names, part in _find_parts(job).items()}
    measured[frozenset(tasks)] = _read_rewards(job)
    together = [_build_cell(task, frozenset(tasks), measured) for task in tasks]
    least = min((cell.mean for cell in together if cell), default=None)
    marked = [cell and replace(cell, worst=cell.mean == least) for cell in together]
    rows = [MatrixRow("all others", marked)]
    if len(tasks) > 2:
        rows += [
            MatrixRow(
                other,
                [_build_cell(t, frozenset({t, other}), measured) if t != other else None for t in tasks],
            )
            for other in tasks
        ]
    return Matrix(tasks, [_mean_reward(task, measured.get(frozenset({task}), {})) for task in tasks], rows)


def _read_rewards(job: Job) -> dict[str, float]:
    """Row id -> mean reward of the tuned model after training. Ids begin with the task's name."""
    rows = ComparedRow.objects.filter(evaluation__job=job, evaluation__stage="after", evaluation__task="")
    return {row: reward for row, reward in rows.values_list("row_id", "tuned_reward") if reward is not None}


def _select_task(task: str, rewards: dict[str, float]) -> dict[str, float]:
    return {row: reward for row, reward in rewards.items() if row.startswith(f"{task}/")}


def _mean_reward(task: str, rewards: dict[str, float]) -> float | None:
    own = _select_task(task, rewards)
    return fmean(own.values()) if own else None


def _build_cell(task: str, names: Names, measured: dict[Names, dict[str, float]]) -> Cell | None:
    alone, together = measured.get(frozenset({task}), {}), measured.get(names, {})
    rows = sorted(_select_task(task, alone).keys() & together.keys())
    if not rows:
        return None
    return Cell(task, *bootstrap_mean(tuple(together[row] - alone[row] for row in rows)), len(rows))
