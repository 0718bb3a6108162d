"""Results of a job and its control runs on the same held-out rows, with conclusions."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.core.statistics import bootstrap_mean
from webapp.core.templatetags.groove import score, seconds, signed
from webapp.evaluations.presenters import Bar, draw_intervals
from webapp.experiments.control_runs import TEMPLATE, list_control_runs
from webapp.jobs.models import ComparedRow, Evaluation, Job, SuiteScore
from webapp.retention.presenters import to_change
from workers.contract.events import Interval, SideSummary
from workers.contract.methods import METHODS, Method
from workers.contract.statistics import FEWEST_ROWS

BAR_HEIGHT = 54
BASE_COLOUR = "text-secondary"
TOO_FEW = f"Fewer than {FEWEST_ROWS} held-out rows cannot tell them apart"


@dataclass(frozen=True)
class Difference:
    """Mean reward of one run minus another, paired by row, with a 95 % bootstrap interval."""

    mean: float
    low: float | None
    high: float | None
    rows: int

    def __str__(self) -> str:
        return _format_interval(self.mean, self.low, self.high)


@dataclass(frozen=True)
class Run:
    """One run. ``evaluation``, ``forgetting`` and ``kl`` are measured after training."""

    method: Method
    name: str
    job: Job
    evaluation: Evaluation | None
    rft_minus_run: Difference | None
    forgetting: dict[str, Interval]
    kl: Interval | None

    @property
    def summary(self) -> SideSummary | None:
        """Results of the tuned model; None while the run has not been evaluated."""
        return self.evaluation.tuned if self.evaluation else None


@dataclass(frozen=True)
class PlacedBar:
    """A bar of the chart, its distance from the top in pixels, and its colour."""

    bar: Bar
    top: int
    colour: str


@dataclass(frozen=True)
class Conclusion:
    """The answer to a question of the page."""

    kind: str
    title: str
    sentences: list[str]


@dataclass(frozen=True)
class Results:
    """The page's content. ``suites`` are the last columns; ``conclusions`` answer a method's question."""

    evaluation: Evaluation
    base: SideSummary
    runs: list[Run]
    suites: list[str]
    bars: list[PlacedBar]
    ticks: list[tuple[str, str]]
    conclusions: list[tuple[Method, list[Conclusion]]]

    @property
    def jobs(self) -> list[Job]:
        return [run.job for run in self.runs]

    @property
    def axis(self) -> int:
        """Lower end of the chart's grid lines, pixels from the top."""
        return len(self.bars) * BAR_HEIGHT + 4

    @property
    def height(self) -> int:
        return self.axis + 20

    @property
    def cells(self) -> list[tuple[Run, list[Interval | None]]]:
        """Every run with its forgetting on each suite."""
        return [(run, [run.forgetting.get(suite) for suite in self.suites]) for run in self.runs]


def build_results(job: Job) -> Results | None:
    """Return the results of an RFT job and its control runs; None before its evaluation."""
    evaluation = _find_final_evaluation(job)
    if evaluation is None:
        return None
    rewards = _read_rewards(evaluation)
    rft = _build_run(job, evaluation, None)
    controls = [_build_control_run(run, rewards) for run in list_control_runs(job)]
    runs = [rft, *controls]
    sides = {job.base_label: evaluation.base.reward}
    sides |= {run.name: run.summary.reward for run in runs if run.summary}
    colours = [BASE_COLOUR, *(run.method.colour for run in runs if run.summary)]
    figure = draw_intervals(sides)
    return Results(
        evaluation=evaluation,
        base=evaluation.base,
        runs=runs,
        suites=list(dict.fromkeys(suite for run in runs for suite in run.forgetting)),
        bars=[
            PlacedBar(bar, 4 + index * BAR_HEIGHT, colour)
            for index, (bar, colour) in enumerate(zip(figure.bars, colours, strict=True))
        ],
        ticks=figure.ticks,
        conclusions=[
            (method, [_conclude(rft, run) for run in controls if run.method == method])
            for method in METHODS.values()
            if method.control_run
        ],
    )


# --- measurements --------------------------------------------------------------------------------


def _find_final_evaluation(job: Job) -> Evaluation | None:
    """The comparison after training, of all tasks together."""
    return job.evaluations.filter(stage="after", task="", tuned__isnull=False).last()


def _read_rewards(evaluation: Evaluation) -> dict[str, float]:
    """Row id -> mean reward of the tuned model."""
    rows = ComparedRow.objects.filter(evaluation=evaluation).values_list("row_id", "tuned_reward")
    return {row: reward for row, reward in rows if reward is not None}


def _build_control_run(job: Job, rft: dict[str, float]) -> Run:
    evaluation = _find_final_evaluation(job)
    return _build_run(
        job, evaluation, measure_difference(rft, _read_rewards(evaluation)) if evaluation else None
    )


def _build_run(job: Job, evaluation: Evaluation | None, rft_minus_run: Difference | None) -> Run:
    scores: list[SuiteScore] = list(job.suite_scores.filter(stage="after"))
    return Run(
        method=job.training_method,
        name=_name_run(job),
        job=job,
        evaluation=evaluation,
        rft_minus_run=rft_minus_run,
        forgetting={score.suite: score.forgetting for score in scores if score.suite and score.forgetting},
        kl=next((score.drift.per_answer for score in scores if not score.suite and score.drift), None),
    )


def _name_run(job: Job) -> str:
    """The method; with demonstrations their source, too, and a number from the second run on."""
    label = job.training_method.label
    if job.sft is None:
        return label
    demonstrations = "a template" if job.sft.source == TEMPLATE else "accepted rollouts"
    siblings = job.control_of.control_runs if job.control_of else Job.objects.none()
    earlier = siblings.filter(method=job.method, pk__lt=job.pk).count()
    return f"{label} on {demonstrations}" + (f" ({earlier + 1})" if earlier else "")


def measure_difference(first: dict[str, float], second: dict[str, float]) -> Difference | None:
    """Mean of first minus second over the rows that both have; None without such rows."""
    rows = sorted(first.keys() & second.keys())
    if not rows:
        return None
    return Difference(*bootstrap_mean(tuple(first[row] - second[row] for row in rows)), len(rows))


# --- conclusions ---------------------------------------------------------------------------------


def _conclude(rft: Run, run: Run) -> Conclusion:
    if run.rft_minus_run is None:
        return _conclude_later(run)
    if run.method.can_be_baseline:
        return _conclude_alternative(rft, run, run.rft_minus_run)
    return _conclude_chance(run, run.rft_minus_run)


def _conclude_alternative(rft: Run, run: Run, found: Difference) -> Conclusion:
    """Tell if another method is as good as RFT, and its cost."""
    times = seconds(rft.job.train_seconds), seconds(run.job.train_seconds)
    measured = f"RFT minus {run.name}: {found} over {found.rows} rows."
    cost = f"Training took RFT {times[0]} and {run.method.label} {times[1]}."
    forgotten = _compare_forgetting(rft, run)
    sentences = [measured, cost, *forgotten]
    if found.low is None or found.high is None:
        return Conclusion("info", TOO_FEW, sentences)
    if found.low > 0:
        return Conclusion("success", f"No: {run.name} falls short of RFT by {score(found.mean)}", sentences)
    if found.high < 0:
        return Conclusion("warning", f"Yes: {run.name} is better than RFT by {score(-found.mean)}", sentences)
    more = "The interval includes 0; more held-out rows make it narrower."
    return Conclusion(
        "info", f"These rows do not tell {run.name} and RFT apart", [measured, more, cost, *forgotten]
    )


def _compare_forgetting(rft: Run, run: Run) -> list[str]:
    """Sentences on the forgetting of both runs, suite by suite, or on why it is unknown."""
    sentences = [
        f"Reward elsewhere, {suite}: RFT {_format_change(to_change(rft.forgetting[suite]))}, "
        f"{run.method.label} {_format_change(to_change(lost))}."
        for suite, lost in run.forgetting.items()
        if suite in rft.forgetting
    ]
    if not sentences:
        sentences = ["Forgetting was not measured: the job has no suites of what the model should still do."]
    if rft.kl and run.kl:
        sentences.append(
            f"On the base's own completions RFT moved {rft.kl.mean:.3g} nats per completion from the base, "
            f"{run.method.label} {run.kl.mean:.3g}."
        )
    return sentences


def _conclude_chance(run: Run, found: Difference) -> Conclusion:
    """Tell if RFT gains more than rewards without meaning."""
    name = run.method.label_in_text
    sentences = []
    if run.evaluation and run.evaluation.difference:
        gain = _format_change(run.evaluation.difference)
        sentences.append(f"Random rewards changed the reward by {gain} from the base.")
    sentences.append(f"RFT minus {name}: {found} over {found.rows} rows.")
    if found.low is None:
        return Conclusion("info", TOO_FEW, sentences)
    if found.low > 0:
        sentences.append("This difference is attributable to the reward signal.")
        return Conclusion("success", f"RFT is better than its {name} by {score(found.mean)}", sentences)
    warning = "The gain is not shown to come from the reward: credit no more than the difference."
    return Conclusion("warning", f"RFT is not shown to be better than its {name}", [warning, *sentences])


def _conclude_later(run: Run) -> Conclusion:
    state = run.job.get_state_display().lower()
    return Conclusion(
        "info", f"{run.name}: not known yet", [f"Its job is {state}. The result appears when the job ends."]
    )


def _format_change(change: Interval) -> str:
    return _format_interval(change.mean, change.low, change.high)


def _format_interval(mean: float, low: float | None, high: float | None) -> str:
    return signed(mean) if low is None else f"{signed(mean)} [{signed(low)}, {signed(high)}]"
