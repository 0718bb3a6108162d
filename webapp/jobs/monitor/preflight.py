"""The preflight page: histogram, pass@k curve, samples, and forecast against actual values."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TypedDict

from webapp.graders.definitions.references import RowReference
from webapp.jobs.models import Job, PreflightSample
from webapp.jobs.monitor import phases
from webapp.jobs.rollouts.references import DatasetRow, JobRows
from webapp.jobs.states import State
from workers.contract.events import Interval, PreflightEvent

TITLES = {
    "go": "Go",
    "change_grader": "Change the grader first",
    "raise_length": "Raise the length limit first",
    "change_environment": "Correct the environment first",
    "sft_first": "Train on examples first",
    "solved": "Already solved",
}
EARLY_STEPS = 20
GOOD_ESTIMATE = 0.3  # error that counts as accurate, as a share of the actual time
MAX_NO_SIGNAL = 0.3  # share of groups; workers.engine.evaluation.forecast chooses the size by the same
INTERVAL, POWER = 1.96, 2.8  # standard errors: half a 95 % interval, effect detected with 80 % power


# --- figures ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """A bin of the histogram: edges, count, and its place in a box 100 high, as SVG numbers."""

    low: float
    high: float
    count: int
    top: str
    height: str


def build_histogram(report: PreflightEvent) -> list[Bar]:
    """Return the histogram of rewards."""
    counts, low, high = report.histogram, report.histogram_low, report.histogram_high
    edges = [low + (high - low) * index / len(counts) for index in range(len(counts) + 1)]
    most = max(max(counts), 1)
    return [
        Bar(start, end, count, f"{100 - 100 * count / most:.2f}", f"{100 * count / most:.2f}")
        for (start, end), count in zip(pairwise(edges), counts, strict=True)
    ]


class CurveSeries(TypedDict):
    """A line of the figure with its band."""

    name: str
    mean: list[float]
    low: list[float | None]
    high: list[float | None]


class Curve(TypedDict):
    """The JSON that ``static/js/curves.js`` draws."""

    x: list[int]
    x_label: str
    y_label: str
    series: list[CurveSeries]


def build_pass_curve(report: PreflightEvent) -> Curve:
    """Return pass@k of the base model."""
    points = report.pass_curve
    return {
        "x": [point.k for point in points],
        "x_label": "k",
        "y_label": "pass@k",
        "series": [
            {
                "name": "Base",
                "mean": [point.value.mean for point in points],
                "low": [point.value.low for point in points],
                "high": [point.value.high for point in points],
            }
        ],
    }


def find_sufficient_size(report: PreflightEvent) -> str:
    """Return the smallest group size at which most groups have signal; empty for none."""
    size = str(report.group_size)
    share = report.no_signal.get(size)
    return size if share and share.mean <= MAX_NO_SIGNAL else ""


# --- forecast ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """A forecast and the actual value. ``accurate`` is None as long as that is unknown."""

    name: str
    forecast: str
    actual: str
    accurate: bool | None


def check_forecast(job: Job) -> list[Outcome]:
    """Return the preflight's forecasts with what the job has measured so far."""
    assert job.preflight, "a job without a preflight has no forecast"
    report = job.preflight
    found = [_check_signal(job, report), *_check_durations(job, report), _check_gain(job, report)]
    return [outcome for outcome in found if outcome]


def _check_signal(job: Job, report: PreflightEvent) -> Outcome | None:
    share = report.no_signal.get(str(job.settings.grpo.group_size))
    if share is None:
        return None
    rows = job.metrics.order_by("step").values_list("values", flat=True)[:EARLY_STEPS]
    seen = [row["groups/no_signal_share"] for row in rows if "groups/no_signal_share" in row]
    return Outcome(
        f"Groups without signal, first {EARLY_STEPS} steps",
        f"{_format_percent(share.mean)}{_format_range(share)}",
        f"{_format_percent(fmean(seen))} over {len(seen)} steps" if seen else "",
        _covers(share, fmean(seen), slack=0.1) if seen else None,
    )


def _covers(interval: Interval, value: float, slack: float = 0.0) -> bool | None:
    """Return True if the interval widened by ``slack`` has the value; None without bounds."""
    if interval.low is None or interval.high is None:
        return None
    return interval.low - slack <= value <= interval.high + slack


def _format_range(share: Interval) -> str:
    low, high = share.low, share.high
    return "" if low is None or high is None else f" ({_format_percent(low)} to {_format_percent(high)})"


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _check_durations(job: Job, report: PreflightEvent) -> list[Outcome]:
    """Time of the job against the launch estimate, and of training against the forecast."""
    spent, forecast = phases.measure_phases(job), report.forecast.train_seconds
    done = job.state == State.SUCCEEDED
    training = Outcome(
        "Time of training, with the evaluations on the way",
        f"{forecast.mean:.0f} s ({forecast.low:.0f} to {forecast.high:.0f})",
        f"{spent['train']:.0f} s" if done and "train" in spent else "",
        _covers(forecast, spent["train"]) if done and "train" in spent else None,
    )
    if not job.estimate:
        return [training]
    expected, taken = job.estimate.seconds, sum(spent.values())
    whole = Outcome(
        "Time of the whole job, estimated at launch",
        f"{expected:.0f} s",
        f"{taken:.0f} s" if done else "",
        abs(taken - expected) <= GOOD_ESTIMATE * taken if done else None,
    )
    return [whole, training]


def _check_gain(job: Job, report: PreflightEvent) -> Outcome:
    after = job.evaluations.filter(stage="after", task="", difference__isnull=False).first()
    found = after.difference if after else None
    name, forecast = "Minimum detectable improvement on the held-out rows", f"{report.detectable:.3f}"
    if found is None or found.low is None or found.high is None:
        return Outcome(name, forecast, "", None)
    half = (found.high - found.low) / 2
    return Outcome(
        name,
        forecast,
        f"difference {found.mean:+.3f}, interval ±{half:.3f}",
        half <= report.detectable * INTERVAL / POWER,
    )


# --- samples ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A completion with its row and reference, which are None if the row's file is gone.

    ``judged`` is True if the grader asks a judge.
    """

    completion: PreflightSample
    url: str
    row: DatasetRow | None
    reference: RowReference | None
    judged: bool


def list_samples(job: Job) -> list[Sample]:
    """Return the base completions that the preflight stored, in their order."""
    completions, rows = list(job.preflight_samples.all()), JobRows(job)
    found = rows.find(each.row_id for each in completions)
    return [_build_sample(each, rows, found.get(each.row_id)) for each in completions]


def _build_sample(completion: PreflightSample, rows: JobRows, row: DatasetRow | None) -> Sample:
    reference = rows.reference(completion.row_id, row) if row else None
    url, judged = rows.url(completion.row_id), rows.is_judged(completion.row_id)
    return Sample(completion, url, row, reference, judged)
