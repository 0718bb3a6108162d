"""What the runs' page shows: all runs on the same held-out rows, and two answers in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.core.statistics import bootstrap_mean
from webapp.core.templatetags.groove import score, seconds, signed
from webapp.evaluations.presenters import Bar, draw_intervals
from webapp.experiments.control_runs import TEMPLATE, control_runs_of
from webapp.jobs.models import ComparedRow, Evaluation, Job, SuiteScore
from webapp.retention.presenters import to_change
from workers.contract.methods import METHODS
from workers.contract.statistics import FEWEST_ROWS

BAR_HEIGHT = 54
COLOURS = {"base": "text-secondary"} | {method.id: method.colour for method in METHODS.values()}
TOO_FEW = f"Fewer than {FEWEST_ROWS} held-out rows cannot tell them apart"
Interval = dict[str, float | None]  # workers.contract.events.Interval


@dataclass(frozen=True)
class Difference:
    """RFT minus another run in mean reward, paired by held-out row, with its 95 % bootstrap interval."""

    mean: float
    low: float | None
    high: float | None
    rows: int

    def __str__(self) -> str:
        return _interval_text(self.mean, self.low, self.high)


@dataclass(frozen=True)
class Line:
    """One run. ``evaluation`` is the one after training, ``forgetting`` and ``kl`` are measured with it."""

    kind: str
    name: str
    job: Job
    evaluation: Evaluation | None
    behind: Difference | None
    forgetting: dict[str, Interval]
    kl: Interval | None

    @property
    def summary(self) -> dict[str, Any] | None:
        """``contract.events.SideSummary``; ``None`` while the run has not been evaluated."""
        return self.evaluation.tuned if self.evaluation else None


@dataclass(frozen=True)
class Placed:
    """A bar of the chart with its place in pixels from the top and its colour."""

    bar: Bar
    top: int
    colour: str


@dataclass(frozen=True)
class Answer:
    """A question's answer in words."""

    kind: str
    title: str
    sentences: list[str]


@dataclass(frozen=True)
class Results:
    """The page's content; ``base`` is the base's ``SideSummary``, ``suites`` name the columns."""

    evaluation: Evaluation
    base: dict[str, Any]
    lines: list[Line]
    suites: list[str]
    bars: list[Placed]
    ticks: list[tuple[str, str]]
    answers: list[tuple[str, list[Answer]]]

    @property
    def jobs(self) -> list[Job]:
        return [line.job for line in self.lines]

    @property
    def axis(self) -> int:
        """Where the chart's lines end, pixels from the top."""
        return len(self.bars) * BAR_HEIGHT + 4

    @property
    def height(self) -> int:
        return self.axis + 20

    @property
    def cells(self) -> list[tuple[Line, list[Interval | None]]]:
        """Every run with what it forgot of each suite."""
        return [(line, [line.forgetting.get(suite) for suite in self.suites]) for line in self.lines]


def results(job: Job) -> Results | None:
    """``None`` until the job has been compared with its base."""
    evaluation = _after(job)
    if evaluation is None:
        return None
    rewards = _rewards(evaluation)
    rft = _line("rft", job, evaluation, None)
    runs = [_control_run(run, rewards) for run in control_runs_of(job)]
    lines = [rft, *runs]
    named = {job.base_label: evaluation.base["reward"]}
    named |= {line.name: line.summary["reward"] for line in lines if line.summary}
    kinds = ["base", *(line.kind for line in lines if line.summary)]
    figure = draw_intervals(named)
    placed = [
        Placed(bar, 4 + place * BAR_HEIGHT, COLOURS[kind])
        for place, (bar, kind) in enumerate(zip(figure.bars, kinds, strict=True))
    ]
    suites = list(dict.fromkeys(suite for line in lines for suite in line.forgetting))
    answers = [
        ("Would SFT have done?", [_sft_answer(rft, run) for run in runs if run.kind == "sft"]),
        (
            "What is left when the reward says nothing?",
            [_placebo_answer(run) for run in runs if run.kind == "placebo"],
        ),
    ]
    return Results(evaluation, evaluation.base, lines, suites, placed, figure.ticks, answers)


# --- measuring -----------------------------------------------------------------------------------


def _after(job: Job) -> Evaluation | None:
    """The comparison after training, of all tasks together."""
    return job.evaluations.filter(stage="after", task="", tuned__isnull=False).last()


def _rewards(evaluation: Evaluation) -> dict[str, float]:
    """Row id -> mean reward of the tuned model."""
    rows = ComparedRow.objects.filter(evaluation=evaluation).values_list("row_id", "tuned_reward")
    return {row: reward for row, reward in rows if reward is not None}


def _control_run(job: Job, rft: dict[str, float]) -> Line:
    evaluation = _after(job)
    return _line(job.method, job, evaluation, difference(rft, _rewards(evaluation)) if evaluation else None)


def _line(kind: str, job: Job, evaluation: Evaluation | None, behind: Difference | None) -> Line:
    scores: list[SuiteScore] = list(job.suite_scores.filter(stage="after"))
    drift = next((score.drift for score in scores if not score.suite and score.drift), None)
    return Line(
        kind,
        _name(job),
        job,
        evaluation,
        behind,
        {score.suite: score.forgetting for score in scores if score.suite and score.forgetting},
        drift["per_answer"] if drift else None,
    )


def _name(job: Job) -> str:
    if job.sft is None:
        return METHODS[job.method].label
    made = "a template" if job.sft["source"] == TEMPLATE else "accepted rollouts"
    again = job.control_of.control_runs.filter(method="sft", pk__lt=job.pk).count() if job.control_of else 0
    return f"SFT on {made}" + (f" ({again + 1})" if again else "")


def difference(rft: dict[str, float], other: dict[str, float]) -> Difference | None:
    """RFT minus the other run over the rows that both were graded on; ``None`` without such rows."""
    rows = sorted(rft.keys() & other.keys())
    if not rows:
        return None
    return Difference(*bootstrap_mean(tuple(rft[row] - other[row] for row in rows)), len(rows))


# --- words ---------------------------------------------------------------------------------------


def _sft_answer(rft: Line, sft: Line) -> Answer:
    if sft.behind is None:
        return _not_yet(sft)
    behind, measured = sft.behind, f"RFT minus {sft.name}: {sft.behind} over {sft.behind.rows} rows."
    cost = f"Training took RFT {seconds(rft.job.train_seconds)} and SFT {seconds(sft.job.train_seconds)}."
    sentences = [measured, cost, *_forgotten(rft, sft)]
    if behind.low is None or behind.high is None:
        return Answer("info", TOO_FEW, [measured, *sentences[1:]])
    if behind.low > 0:
        return Answer("success", f"No: {sft.name} falls short of RFT by {score(behind.mean)}", sentences)
    if behind.high < 0:
        return Answer("warning", f"Yes: {sft.name} is better than RFT by {score(-behind.mean)}", sentences)
    more = "The interval includes 0; more held-out rows make it narrower."
    return Answer(
        "info", f"These rows do not tell {sft.name} and RFT apart", [measured, more, *sentences[1:]]
    )


def _forgotten(rft: Line, sft: Line) -> list[str]:
    """What SFT would have cost in forgetting, suite by suite, or why that is not known."""
    said = [
        f"Reward elsewhere, {suite}: RFT {_change(rft.forgetting[suite])}, SFT {_change(lost)}."
        for suite, lost in sft.forgetting.items()
        if suite in rft.forgetting
    ]
    if not said:
        said = ["Forgetting was not measured: the job has no suites of what the model should still do."]
    if rft.kl and sft.kl:
        moved = "On the base's own answers RFT moved {:.3g} nats per answer from the base, SFT {:.3g}."
        said.append(moved.format(rft.kl["mean"], sft.kl["mean"]))
    return said


def _change(lost: Interval) -> str:
    """What was forgotten, as a change: tuned minus base."""
    return _said(to_change(lost))


def _said(change: Interval) -> str:
    return _interval_text(change["mean"], change["low"], change["high"])


def _interval_text(mean: float | None, low: float | None, high: float | None) -> str:
    return signed(mean) if low is None else f"{signed(mean)} [{signed(low)}, {signed(high)}]"


def _placebo_answer(placebo: Line) -> Answer:
    if placebo.behind is None or placebo.evaluation is None:
        return _not_yet(placebo)
    behind, sentences = placebo.behind, []
    if gain := placebo.evaluation.difference:
        sentences.append(f"Random rewards changed the reward by {_said(gain)} compared with the base.")
    sentences.append(f"RFT minus placebo: {behind} over {behind.rows} rows.")
    if behind.low is None:
        return Answer("info", TOO_FEW, sentences)
    if behind.low > 0:
        sentences.append("This difference is attributable to the reward signal.")
        return Answer("success", f"RFT is better than its placebo by {score(behind.mean)}", sentences)
    warning = "The gain is not shown to come from the reward: credit no more than the difference."
    return Answer("warning", "RFT is not shown to be better than its placebo", [warning, *sentences])


def _not_yet(line: Line) -> Answer:
    state = line.job.get_state_display().lower()
    return Answer(
        "info", f"{line.name}: not known yet", [f"Its job is {state}; the answer comes with its end."]
    )
