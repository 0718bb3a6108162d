"""Measurements of a model, in order: on its job's rows, tasks and suites, and in other jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from django.db.models import Q

from webapp.evaluations.presenters import find_bounds, read_confidence
from webapp.jobs.models import Evaluation, Job, SuiteScore
from webapp.jobs.monitor.openings import jobs_with_openings
from webapp.registry.models import TunedModel
from webapp.retention.presenters import to_change
from workers.contract.events import Interval
from workers.contract.methods import METHODS

ORDER = {"before": 0, "during": 1, "after": 2}
MOST_OTHER_RESULTS = 20
LEFT, RIGHT, AFTER = 12, 80, 93  # x of the first step, the last step, and after training, in percent
TOP, BOTTOM = 12, 172  # y of the highest and the lowest reward, in pixels


@dataclass(frozen=True)
class Measurement:
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
    points: list[Measurement]

    @property
    def compared(self) -> bool:
        """True if the tuned model was measured."""
        return any(point.tuned for point in self.points)


@dataclass(frozen=True)
class OtherResult:
    """Result of another job that measured this model: one that continued from it, or a control run."""

    job: Job
    role: str
    reward: Interval
    rows: int
    split: str


def build_context(model: TunedModel) -> dict[str, object]:
    """Return what the page shows; ``measured`` is the comparison after training."""
    job: Job | None = getattr(model, "job", None)
    found = build_series(job) if job else []
    others = list_other_results(model)
    return {
        "measured": _find_final_evaluation(job) if job else None,
        "series": found,
        "figures": [build_figure(each, job.base_label) for each in found] if job else [],
        "measurements": sum(len(each.points) for each in found),
        "confidence": read_confidence(job) if job else None,
        "other_results": others,
        "test_opened": jobs_with_openings([other.job for other in others]),
    }


def _find_final_evaluation(job: Job) -> Evaluation | None:
    after = (each for each in job.evaluations.all() if each.stage == "after" and not each.task)
    return next((each for each in after if each.tuned), None)


def build_series(job: Job) -> list[Series]:
    """Return the job's own rows first, then its tasks, then its suites, if the tuned model was measured."""
    tasks: dict[str, list[Measurement]] = {}
    for evaluation in job.evaluations.all():
        tasks.setdefault(evaluation.task, []).append(_from_evaluation(evaluation))
    suites: dict[str, list[Measurement]] = {}
    for score in job.suite_scores.all():
        if score.suite:
            suites.setdefault(score.suite, []).append(_from_score(score))
    named = [(f"Task {name}" if name else "Held-out rows", tasks[name]) for name in sorted(tasks)]
    named += [(f"Suite {name}", points) for name, points in suites.items()]
    found = [Series(title, sorted(points, key=_order)) for title, points in named]
    return [each for each in found if each.compared]


def _order(point: Measurement) -> tuple[int, int]:
    return ORDER[point.stage], point.step


def _from_evaluation(evaluation: Evaluation) -> Measurement:
    base, tuned = evaluation.base, evaluation.tuned
    return Measurement(
        stage=evaluation.stage,
        step=evaluation.step,
        split=evaluation.split,
        rows=evaluation.rows,
        samples_per_row=evaluation.samples_per_row,
        base=base.reward,
        tuned=tuned.reward if tuned else None,
        change=evaluation.difference,
    )


def _from_score(score: SuiteScore) -> Measurement:
    forgetting = score.forgetting
    return Measurement(
        stage=score.stage,
        step=score.step,
        split="",
        rows=score.rows,
        samples_per_row=score.samples_per_row,
        base=score.base,
        tuned=score.tuned,
        change=to_change(forgetting) if forgetting else None,
    )


def list_other_results(model: TunedModel) -> list[OtherResult]:
    """Return results of jobs that continued from the model, and of control runs of its job, newest first."""
    job: Job | None = getattr(model, "job", None)
    others = Q(job__initial_adapter=model, job__method="rft") | (
        Q(job__control_of=job) if job else Q(pk=None)
    )
    found = Evaluation.objects.filter(others, stage="after", task="", tuned__isnull=False)
    newest = found.select_related("job__team").defer("comparison").order_by("-id")[:MOST_OTHER_RESULTS]
    return [_build_other_result(model, evaluation) for evaluation in newest]


def _build_other_result(model: TunedModel, evaluation: Evaluation) -> OtherResult:
    job, tuned = evaluation.job, evaluation.tuned
    assert tuned, f"{evaluation} compares nothing"
    is_initial = job.initial_adapter_id == model.pk
    control_run = f"{METHODS[job.method].label} control run, compared with this model"
    return OtherResult(
        job=job,
        role="this model, as its initial adapter" if is_initial else control_run,
        # A job that starts from the model measures the model itself as its base.
        reward=(evaluation.base if is_initial else tuned).reward,
        rows=evaluation.rows,
        split=evaluation.split,
    )


# --- drawing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A mean with its interval: ``x`` is a CSS percentage, the others are heights in pixels."""

    x: str
    mean: int
    low: int
    high: int
    when: str
    after: bool
    reward: Interval


@dataclass(frozen=True)
class Side:
    """One model's marks; ``joined`` are pairs of neighbours to connect by lines."""

    name: str
    marks: list[Mark]
    joined: list[tuple[Mark, Mark]]


@dataclass(frozen=True)
class Figure:
    """Rewards by step; ``steps`` are (x, label, SVG's anchor) and ``levels`` (height, label)."""

    title: str
    sides: list[Side]
    steps: list[tuple[str, str, str]]
    levels: list[tuple[int, str]]
    top = TOP
    bottom = BOTTOM
    height = BOTTOM + 24


def build_figure(series: Series, base_label: str) -> Figure:
    """Draw both models on an axis from 0 to 1, or wider if rewards lie outside; "after" is set apart."""
    intervals = [each for point in series.points for each in (point.base, point.tuned) if each]
    ends = [bound for interval in intervals for bound in find_bounds(interval)]
    low, high = min([0.0, *ends]), max([1.0, *ends])
    last = max((point.step for point in series.points if point.stage != "after"), default=0)

    def height(reward: float) -> int:
        return round(BOTTOM - (BOTTOM - TOP) * (reward - low) / (high - low))

    def build_marks(rewards: Iterable[tuple[Measurement, Interval | None]]) -> list[Mark]:
        return [
            Mark(
                x=_find_x(point, last),
                mean=height(reward.mean),
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
        title=series.title,
        sides=[
            _build_side(base_label, build_marks((point, point.base) for point in series.points)),
            _build_side("Tuned", build_marks((point, point.tuned) for point in series.points)),
        ],
        steps=_build_ticks(last, any(point.stage == "after" for point in series.points)),
        levels=[(height(value), f"{value:.2f}") for value in values],
    )


def _find_x(point: Measurement, last: int) -> str:
    if point.stage == "after":
        return f"{AFTER}%"
    return f"{LEFT + (RIGHT - LEFT) * point.step / max(last, 1):.2f}%"


def _build_side(name: str, marks: list[Mark]) -> Side:
    during = [mark for mark in marks if not mark.after]
    return Side(name, marks, list(pairwise(during)))


def _build_ticks(last: int, after: bool) -> list[tuple[str, str, str]]:
    ticks = [(f"{LEFT}%", "step 0", "start")]
    if last:
        ticks.append((f"{RIGHT}%", f"step {last}", "end"))
    return [*ticks, (f"{AFTER}%", "after", "middle")] if after else ticks
