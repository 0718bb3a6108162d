"""Events of the engine, one JSON object per line.

Events are appended to ``events.jsonl`` in the attempt's folder and flushed line by line, so that a reader
that returns later misses none. Events are keyed by step. After a resume an event may be repeated; the later
one replaces the earlier.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from workers.contract.environments import EpisodeRecord
from workers.contract.json_types import JsonObject

Phase = Literal["prepare", "preflight", "train", "evaluate", "package"]

GradingErrorClass = Literal[
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
]


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")
    time: float = Field(default_factory=time.time, description="Unix seconds")


class PhaseEvent(_Event):
    """A new phase has begun."""

    type: Literal["phase"] = "phase"
    phase: Phase


class ProgressEvent(_Event):
    """Progress of the present phase. ``eta_seconds`` is an estimate for the whole job."""

    type: Literal["progress"] = "progress"
    phase: Phase
    done: int
    total: int
    unit: str = "steps"
    eta_seconds: float | None = None


class MetricsEvent(_Event):
    """Metrics of one optimiser step (``docs/metrics.md``)."""

    type: Literal["metrics"] = "metrics"
    step: int
    total_steps: int
    values: dict[str, float]


class Rollout(BaseModel):
    """One sampled completion and its reward, which is ``None`` if grading failed.

    ``reward`` is the one that was trained on: in a placebo job that of another completion. ``sub_rewards``
    are always its own.
    """

    model_config = ConfigDict(extra="forbid")
    index: int = Field(description="position in the step, from 0")
    group: int = Field(description="rollouts of one prompt share it")
    row_id: str
    task: str = Field(default="", description="its task, in a job with several")
    prompt: str = Field(description="as rendered for the model")
    completion: str = Field(description="as graders saw it")
    reasoning: str = Field(default="", description="thoughts that are not part of the completion")
    reward: float | None
    sub_rewards: dict[str, float | None] = {}
    error_class: GradingErrorClass | None = None
    error_detail: str | None = None
    explanation: str = Field(default="", description="the judge's reasons")
    advantage: float | None
    length: int = Field(description="completion tokens, the end token included")
    truncated: bool
    adapter_step: int = Field(description="optimiser steps taken by the adapter that wrote it")
    episode: EpisodeRecord | None = Field(default=None, description="of a rollout with several turns")
    held_out_reward: float | None = Field(
        default=None, description="by the held-out grader, which is never trained against"
    )


class RolloutsEvent(_Event):
    """All rollouts of one step."""

    type: Literal["rollouts"] = "rollouts"
    step: int
    rollouts: list[Rollout]


class CheckpointEvent(_Event):
    """A complete checkpoint is in ``path``, relative to the attempt's folder."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str


class Interval(BaseModel):
    """A mean with its bootstrap interval over rows; without bounds for too few rows."""

    mean: float
    low: float | None
    high: float | None

    @property
    def is_above_zero(self) -> bool:
        """True if there is an interval and all of it is above 0."""
        return self.low is not None and self.low > 0

    @property
    def is_below_zero(self) -> bool:
        """True if there is an interval and all of it is below 0."""
        return self.high is not None and self.high < 0

    def scaled(self, factor: float) -> Interval:
        """Return the product with a number; a negative one swaps the bounds."""
        mean = 0.0 + self.mean * factor
        if self.low is None or self.high is None:
            return Interval(mean=mean, low=None, high=None)
        low, high = sorted(0.0 + bound * factor for bound in (self.low, self.high))
        return Interval(mean=mean, low=low, high=high)


class Drift(BaseModel):
    """Forward KL from base to tuned in nats, estimated on completions of the base."""

    per_answer: Interval = Field(description="summed over a completion's tokens; interval over rows")
    per_token: float = Field(description="sum over all completions divided by their tokens")
    tokens: int


class SideSummary(BaseModel):
    """One side of an evaluation: the base model or the tuned one."""

    reward: Interval
    pass_at_1: Interval
    pass_at_k: dict[str, float] = Field(description="k as text -> unbiased estimate (2107.03374)")
    mean_length: float
    truncated_share: float
    grading_error_share: float


class EvaluationSample(BaseModel):
    """One completion of one side to one row."""

    completion: str
    reasoning: str = ""
    reward: float | None
    sub_rewards: dict[str, float | None] = {}
    error_class: GradingErrorClass | None = None
    error_detail: str | None = None
    explanation: str = ""
    length: int
    truncated: bool
    episode: EpisodeRecord | None = None


class EvaluationRow(BaseModel):
    """One held-out row with the completions of both sides."""

    row_id: str
    prompt: str = Field(description="as rendered for the model")
    messages: list[JsonObject] = Field(default=[], description="the prompt in the dataset")
    tools: list[JsonObject] = Field(default=[], description="that the prompt offers")
    item: JsonObject = Field(default={}, description="the row's other fields, for graders")
    base: list[EvaluationSample]
    tuned: list[EvaluationSample]
    base_right: int | None = Field(default=None, description="answers that pass; None if none was graded")
    tuned_right: int | None = None


class McNemar(BaseModel):
    """Rows by whether the first answer of each side passes; both must be graded."""

    both: int
    only_base: int
    only_tuned: int
    neither: int
    p_value: float = Field(description="two-sided, exact")


class PairedPoint(BaseModel):
    """pass@k of both sides at one k, on the same rows."""

    k: int
    base: Interval
    tuned: Interval
    difference: Interval = Field(description="tuned minus base, paired by row")


class PassCurves(BaseModel):
    """pass@k for every k up to ``points[-1].k``."""

    rows: int = Field(description="with at least half of their completions graded, on both sides")
    trusted_k: int = Field(description="half the number of completions: beyond, estimates are unstable")
    crossover: int | None = Field(default=None, description="smallest k at which base has overtaken tuned")
    points: list[PairedPoint]


class Coverage(BaseModel):
    """Rows on which a side passes at least once, and rows gained and lost."""

    rows: int
    base: int
    tuned: int
    gained: int = Field(description="base never passes, tuned does")
    lost: int = Field(description="base passes, tuned never does")
    gained_by_chance: float = Field(description="expected if both sides were equally good on every row")
    lost_by_chance: float
    lost_share: Interval = Field(description="of all rows; Wilson's interval")


class LengthMatched(BaseModel):
    """The gain of a row whose completions kept their length: the intercept over length differences."""

    gain: Interval
    slope: float = Field(description="reward per additional token")
    length_change: float = Field(description="tokens per completion, tuned minus base, mean over rows")
    extrapolated: bool = Field(description="the completions of all rows grew, or all shrank")


class Comparison(BaseModel):
    """Comparison row by row (docs/statistics.md). ``rows`` have a grade on both sides."""

    rows: int
    mcnemar: McNemar
    curves: PassCurves | None = None
    coverage: Coverage
    length_matched: LengthMatched | None = None
    deviation: float | None = Field(default=None, description="standard deviation of the differences")
    detectable: float | None = Field(default=None, description="smallest gain shown with 80 % power")
    rows_for_2_points: int | None = Field(default=None, description="rows that would show a gain of 0.02")


class EvaluationEvent(_Event):
    """Base and tuned on the same rows. ``difference`` is tuned minus base, paired by row.

    Before training ``tuned`` and ``difference`` are absent. A job with several tasks has one event for all
    rows, with the completions, and one for each ``task``.
    """

    type: Literal["evaluation"] = "evaluation"
    task: str = ""
    stage: Literal["before", "during", "after"]
    split: Literal["validation", "test"]
    step: int
    rows: int
    samples_per_row: int
    base: SideSummary
    tuned: SideSummary | None = None
    difference: Interval | None = None
    wins: int | None = Field(default=None, description="rows where tuned is better")
    ties: int | None = None
    losses: int | None = None
    comparison: Comparison | None = None
    judge_cost: dict[str, float] = Field(default={}, description="money by judge, of this evaluation")
    details: list[EvaluationRow] = []


class RetentionEvent(_Event):
    """Score and drift of the model on one suite after ``step``.

    ``suite`` is empty for the job's own held-out rows, which have only a drift: their rewards are in the
    evaluation. Before training only ``base`` is known.
    """

    type: Literal["retention"] = "retention"
    suite: str = ""
    stage: Literal["before", "during", "after"]
    step: int
    rows: int
    samples_per_row: int
    base: Interval | None = Field(default=None, description="mean reward of the base")
    tuned: Interval | None = None
    forgetting: Interval | None = Field(default=None, description="base minus tuned, paired by row")
    grading_errors: float = Field(
        default=0.0, description="share of ungraded completions, tuned minus base, at least 0"
    )
    drift: Drift | None = None
    judge_cost: dict[str, float] = {}


class AlarmEvent(_Event):
    """A rule of ``workers/contract/health`` began to fire. ``rollouts`` are indices of example rollouts."""

    type: Literal["alarm"] = "alarm"
    step: int
    code: str
    message: str
    threshold: str = Field(description="when the rule fires")
    evidence: dict[str, float] = Field(description="measurements by name")
    remedy: str
    rollouts: list[int] = []
    paused: bool = Field(default=False, description="the job pauses because of it")


Verdict = Literal["go", "change_environment", "change_grader", "raise_length", "sft_first", "solved"]


class CurvePoint(BaseModel):
    """pass@k at one k, with its interval over rows."""

    k: int
    value: Interval


class Forecast(BaseModel):
    """Estimates for the whole job, from speeds measured in the preflight."""

    step_seconds: float
    seconds: Interval
    train_seconds: Interval = Field(description="of training with its evaluations")
    judge_cost: Interval


class Advice(BaseModel):
    """A reason against training, with its remedy."""

    verdict: Verdict
    reason: str
    remedy: str


class PreflightSample(EvaluationSample):
    """One completion of the preflight with its grading; long texts are cut."""

    row_id: str
    task: str = ""
    prompt: str = Field(description="as rendered for the model")


class PreflightEvent(_Event):
    """Result of the preflight, which measures whether training can work (docs/preflight.md)."""

    type: Literal["preflight"] = "preflight"
    rows: int
    samples_per_row: int
    histogram: list[int] = Field(description="rewards in equal bins from histogram_low to histogram_high")
    histogram_low: float
    histogram_high: float
    reward: Interval
    pass_curve: list[CurvePoint]
    no_signal: dict[str, Interval] = Field(description="group size as text -> share of groups")
    group_size: int = Field(description="the recommended size")
    truncated_share: float
    grading_error_share: float
    spread: float = Field(description="mean standard deviation of rewards within a row")
    detectable: float = Field(description="smallest improvement that the held-out rows can detect")
    held_out_rows: int
    rows_for_2_points: int
    forecast: Forecast
    verdict: Verdict
    reason: str
    remedy: str
    others: list[Advice] = Field(default=[], description="further reasons against it, the strongest first")
    samples: list[PreflightSample] = Field(default=[], description="a few of the completions")
    judge_cost: dict[str, float] = Field(default={}, description="money by judge, of the preflight itself")


class LogEvent(_Event):
    """A line for the job's log."""

    type: Literal["log"] = "log"
    level: Literal["info", "warning", "error"] = "info"
    message: str


class ErrorEvent(_Event):
    """The reason why the job cannot continue, with a remedy for the person who launched it."""

    type: Literal["error"] = "error"
    code: str
    message: str
    remedy: str = ""
    detail: str = ""


class DoneEvent(_Event):
    """The last event. ``package`` is the adapter's folder relative to the attempt's folder.

    ``stopped`` is a stop by SIGTERM, ``paused`` one by the engine itself, after an error event.
    """

    type: Literal["done"] = "done"
    outcome: Literal["succeeded", "stopped", "paused", "failed"]
    step: int
    package: str | None = None
    train_seconds: float = 0.0


Event = Annotated[
    PhaseEvent
    | ProgressEvent
    | MetricsEvent
    | RolloutsEvent
    | CheckpointEvent
    | EvaluationEvent
    | RetentionEvent
    | AlarmEvent
    | PreflightEvent
    | LogEvent
    | ErrorEvent
    | DoneEvent,
    Field(discriminator="type"),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: str | bytes) -> Event:
    """Parse one line. Raises ``pydantic.ValidationError`` if it is not an event."""
    return _EVENT.validate_json(line)


class EventWriter:
    """Appends events to a file, one per line, flushed at once."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __call__(self, event: Event) -> None:
        self._file.write(event.model_dump_json() + "\n")
        self._file.flush()


def follow(path: Path, offset: int) -> Iterator[tuple[Event, int]]:
    """Yield events from byte ``offset`` on, each with the offset after it; skip a partial last line."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield parse(line), offset
