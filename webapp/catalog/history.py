"""What was measured of a model, in order: on its job's rows, its tasks and suites, and in other jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.db.models import Q

from webapp.evaluations.presenters import find_bounds, read_confidence
from webapp.jobs.models import Evaluation, Job, SuiteScore
from webapp.registry.models import TunedModel
from webapp.retention.presenters import to_change
from workers.contract.methods import METHODS

Interval = dict[str, float | None]  # workers.contract.events.Interval
ORDER = {"before": 0, "during": 1, "after": 2}
ELSEWHERE = 20
LEFT, RIGHT, AFTER = 12, 80, 93  # places of the first step, the last one, and after training; percent
TOP, BOTTOM = 12, 172  # of the highest and the lowest reward; pixels


@dataclass(frozen=True)
class Measured:
    """One measurement on some rows; ``change`` is tuned minus base, paired by row."""

    stage: str
    step: int
    split: str
    rows: int
    samples_per_row: int
    base: Interval | None
    tuned: Interval | None
    change: Interval | None

    @property
    def when(self) -> str:
        if self.stage == "during":
            return f"step {self.step}"
        return f"{self.stage} training"


@dataclass(frozen=True)
class Series:
    """Measurements on the same kind of rows, in order."""

    title: str
    points: list[Measured]

    @property
    def compared(self) -> bool:
        """Whether the tuned model was measured at all."""
        return any(point.tuned for point in self.points)


@dataclass(frozen=True)
class Elsewhere:
    """Results of another job: one that continued from this model, or a control run of its job."""

    job: Job
    of: str
    reward: Interval
    rows: int
    split: str


def of(model: TunedModel) -> dict[str, Any]:
    """What the page shows: ``measured`` is the comparison after training."""
    job: Job | None = getattr(model, "job", None)
    found = series(job) if job else []
    return {
        "measured": _final(job) if job else None,
        "series": found,
        "figures": [figure(each, job.base_label) for each in found] if job else [],
        "measurements": sum(len(each.points) for each in found),
        "confidence": read_confidence(job) if job else None,
        "elsewhere": elsewhere(model),
    }


def _final(job: Job) -> Evaluation | None:
    after = (each for each in job.evaluations.all() if each.stage == "after" and not each.task)
    return next((each for each in after if each.tuned), None)


def series(job: Job) -> list[Series]:
    """The job's own rows first, then its tasks, then its suites; only where something was measured."""
    tasks: dict[str, list[Measured]] = {}
    for evaluation in job.evaluations.all():
        tasks.setdefault(evaluation.task, []).append(_evaluated(evaluation))
    suites: dict[str, list[Measured]] = {}
    for score in job.suite_scores.all():
        if score.suite:
            suites.setdefault(score.suite, []).append(_scored(score))
    named = [(f"Task {name}" if name else "Held-out rows", tasks[name]) for name in sorted(tasks)]
    named += [(f"Suite {name}", points) for name, points in suites.items()]
    found = [Series(title, sorted(points, key=_order)) for title, points in named]
    return [each for each in found if each.compared]


def _order(point: Measured) -> tuple[int, int]:
    return ORDER[point.stage], point.step


def _evaluated(evaluation: Evaluation) -> Measured:
    base, tuned = evaluation.base, evaluation.tuned
    return Measured(
        stage=evaluation.stage,
        step=evaluation.step,
        split=evaluation.split,
        rows=evaluation.rows,
        samples_per_row=evaluation.samples_per_row,
        base=base["reward"],
        tuned=tuned["reward"] if tuned else None,
        change=evaluation.difference,
    )


def _scored(score: SuiteScore) -> Measured:
    lost = score.forgetting
    return Measured(
        stage=score.stage,
        step=score.step,
        split="",
        rows=score.rows,
        samples_per_row=score.samples_per_row,
        base=score.base,
        tuned=score.tuned,
        change=to_change(lost) if lost else None,
    )


def elsewhere(model: TunedModel) -> list[Elsewhere]:
    """The newest first: jobs that continued from the model, and the control runs of the job that made it."""
    job: Job | None = getattr(model, "job", None)
    beside = Q(job__start=model, job__method="rft") | (Q(job__control_of=job) if job else Q(pk=None))
    found = Evaluation.objects.filter(beside, stage="after", task="", tuned__isnull=False)
    return [
        _elsewhere(model, evaluation)
        for evaluation in found.select_related("job__team").defer("comparison").order_by("-id")[:ELSEWHERE]
    ]


def _elsewhere(model: TunedModel, evaluation: Evaluation) -> Elsewhere:
    job, tuned = evaluation.job, evaluation.tuned
    assert tuned, f"{evaluation} compares nothing"
    of_model = job.start_id == model.pk
    return Elsewhere(
        job=job,
        of="this model, as its start"
        if of_model
        else f"{METHODS[job.method].label} control run, held against this model",
        reward=(evaluation.base if of_model else tuned)["reward"],
        rows=evaluation.rows,
        split=evaluation.split,
    )


# --- drawing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A mean with its interval: a place across (CSS percentage), and heights in pixels."""

    x: str
    mean: int
    low: int
    high: int
    when: str
    after: bool
    reward: Interval


@dataclass(frozen=True)
class Side:
    """One model's marks; ``joined`` are neighbours on the same rows."""

    name: str
    marks: list[Mark]
    joined: list[tuple[Mark, Mark]]


@dataclass(frozen=True)
class Figure:
    """Rewards by step; ``steps`` are (place, label, SVG's anchor) and ``levels`` (height, label)."""

    title: str
    sides: list[Side]
    steps: list[tuple[str, str, str]]
    levels: list[tuple[int, str]]
    top = TOP
    bottom = BOTTOM
    height = BOTTOM + 24


def figure(shown: Series, base: str) -> Figure:
    """Both models, from 0 to 1 or wider where rewards lie outside; after training stands apart."""
    taken = [each for point in shown.points for each in (point.base, point.tuned) if each]
    ends = [bound for each in taken for bound in find_bounds(each)]
    low, high = min([0.0, *ends]), max([1.0, *ends])
    last = max((point.step for point in shown.points if point.stage != "after"), default=0)

    def height(reward: float) -> int:
        return round(BOTTOM - (BOTTOM - TOP) * (reward - low) / (high - low))

    def marks(rewards: Iterable[tuple[Measured, Interval | None]]) -> list[Mark]:
        return [
            Mark(
                x=_place(point, last),
                mean=height(reward["mean"] or 0.0),
                low=height(find_bounds(reward)[0]),
                high=height(find_bounds(reward)[1]),
                when=point.when,
                after=point.stage == "after",
                reward=reward,
            )
            for point, reward in rewards
            if reward
        ]

    values = [low + part * (high - low) / 4 for part in range(5)]
    return Figure(
        title=shown.title,
        sides=[
            _side(base, marks((point, point.base) for point in shown.points)),
            _side("Tuned", marks((point, point.tuned) for point in shown.points)),
        ],
        steps=_steps(last, any(point.stage == "after" for point in shown.points)),
        levels=[(height(value), f"{value:.2f}") for value in values],
    )


def _place(point: Measured, last: int) -> str:
    if point.stage == "after":
        return f"{AFTER}%"
    return f"{LEFT + (RIGHT - LEFT) * point.step / max(last, 1):.2f}%"


def _side(name: str, marks: list[Mark]) -> Side:
    on_the_way = [mark for mark in marks if not mark.after]
    return Side(name, marks, list(pairwise(on_the_way)))


def _steps(last: int, after: bool) -> list[tuple[str, str, str]]:
    ticks = [(f"{LEFT}%", "step 0", "start")]
    if last:
        ticks.append((f"{RIGHT}%", f"step {last}", "end"))
    return [*ticks, (f"{AFTER}%", "after", "middle")] if after else ticks
