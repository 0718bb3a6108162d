"""The preflight of a job: its advice, what the page draws, and the forecast held against what happened."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from webapp.datasets.content.row_types import StoredRow
from webapp.graders.definitions.references import RowReference
from webapp.jobs.models import Job, PreflightSample
from webapp.jobs.monitor import phases
from webapp.jobs.rollouts.references import JobRows
from webapp.jobs.states import State
from workers.contract.events import Interval, PreflightEvent

TITLES = {
    "go": "Go",
    "change_grader": "Change the grader first",
    "raise_length": "Raise the length limit first",
    "sft_first": "Train on examples first",
    "solved": "Already solved",
}
EARLY_STEPS = 20
GOOD_ESTIMATE = 0.3  # share of the time a job took
MOST_SILENT = 0.3  # share of groups without signal, as workers.engine.evaluation.forecast chooses the size
INTERVAL, POWER = 1.96, 2.8  # standard errors in half an interval, and in the detectable effect


# --- the page --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """A bin of the histogram: its edges and count, and where it is drawn in a box 100 high (SVG numbers)."""

    low: float
    high: float
    count: int
    top: str
    height: str


def bars(report: PreflightEvent) -> list[Bar]:
    """The histogram of rewards."""
    counts, low, high = report.histogram, report.histogram_low, report.histogram_high
    edges = [low + (high - low) * place / len(counts) for place in range(len(counts) + 1)]
    most = max(max(counts), 1)
    return [
        Bar(start, end, count, f"{100 - 100 * count / most:.2f}", f"{100 * count / most:.2f}")
        for (start, end), count in zip(pairwise(edges), counts, strict=True)
    ]


def curve(report: PreflightEvent) -> dict[str, Any]:
    """pass@k as ``static/js/curves.js`` draws it."""
    points = report.pass_curve
    values = {name: [getattr(point.value, name) for point in points] for name in ("mean", "low", "high")}
    return {
        "x": [point.k for point in points],
        "x_label": "k",
        "y_label": "pass@k",
        "series": [{"name": "Base", **values}],
    }


def enough(report: PreflightEvent) -> str:
    """The smallest group size at which most groups have signal, as text; empty if none is."""
    size = str(report.group_size)
    share = report.no_signal.get(size)
    return size if share and share.mean <= MOST_SILENT else ""


@dataclass(frozen=True)
class Outcome:
    """One line of the forecast against what happened. ``inside`` is None where it is not yet known."""

    name: str
    forecast: str
    happened: str
    inside: bool | None


def outcomes(job: Job) -> list[Outcome]:
    """What was forecast, beside what the job has shown so far."""
    assert job.preflight, "a job without a preflight has no forecast"
    report = job.preflight
    found = [_signal(job, report), *_durations(job, report), _gain(job, report)]
    return [outcome for outcome in found if outcome]


def _signal(job: Job, report: PreflightEvent) -> Outcome | None:
    share = report.no_signal.get(str(job.settings.grpo.group_size))
    if share is None:
        return None
    rows = job.metrics.order_by("step").values_list("values", flat=True)[:EARLY_STEPS]
    seen = [row["groups/no_signal_share"] for row in rows if "groups/no_signal_share" in row]
    return Outcome(
        f"Groups without signal, first {EARLY_STEPS} steps",
        f"{_percent(share.mean)}{_range(share)}",
        f"{_percent(fmean(seen))} over {len(seen)} steps" if seen else "",
        _covers(share, fmean(seen), slack=0.1) if seen else None,
    )


def _covers(interval: Interval, value: float, slack: float = 0.0) -> bool | None:
    """True if the value lies in the interval, widened by ``slack``; None without an interval."""
    if interval.low is None or interval.high is None:
        return None
    return interval.low - slack <= value <= interval.high + slack


def _range(share: Interval) -> str:
    low, high = share.low, share.high
    return "" if low is None or high is None else f" ({_percent(low)} to {_percent(high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _durations(job: Job, report: PreflightEvent) -> list[Outcome]:
    """The whole job by the estimate at its launch, and training by the preflight's forecast."""
    spent, forecast = phases.spent_by(job), report.forecast.train_seconds
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


def _gain(job: Job, report: PreflightEvent) -> Outcome:
    after = job.evaluations.filter(stage="after", task="", difference__isnull=False).first()
    found = after.difference if after and (after.difference or {}).get("low") is not None else None
    half = (found["high"] - found["low"]) / 2 if found else 0.0
    return Outcome(
        "Minimum detectable improvement on the held-out rows",
        f"{report.detectable:.3f}",
        f"difference {found['mean']:+.3f}, interval ±{half:.3f}" if found else "",
        half <= report.detectable * INTERVAL / POWER if found else None,
    )


# --- samples ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A completion to read: its row's page, the row and what its grader expects, where they are found.

    ``judged`` says that the grader asks a judge.
    """

    completion: PreflightSample
    url: str
    row: StoredRow | None
    reference: RowReference | None
    judged: bool


def samples(job: Job) -> list[Sample]:
    """The base completions that the preflight kept, in their order."""
    found, rows = list(job.preflight_samples.all()), JobRows(job)
    known = rows.find(each.row_id for each in found)
    return [_sample(each, rows, known.get(each.row_id)) for each in found]


def _sample(completion: PreflightSample, rows: JobRows, row: StoredRow | None) -> Sample:
    reference = rows.reference(completion.row_id, row) if row else None
    url, judged = rows.url(completion.row_id), rows.is_judged(completion.row_id)
    return Sample(completion, url, row, reference, judged)
