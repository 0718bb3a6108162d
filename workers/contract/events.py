"""The event stream: what the engine says while it works, one JSON object a line.

Events are appended to ``events.jsonl`` in the attempt's folder and flushed line by line, so that a reader
that comes back later misses nothing. Keyed by step, an event may be repeated after a resume; the later
one replaces the earlier.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

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
    """A new part of the work has begun."""

    type: Literal["phase"] = "phase"
    phase: Phase


class ProgressEvent(_Event):
    """How far the present phase is. ``eta_seconds`` is an estimate for the whole job."""

    type: Literal["progress"] = "progress"
    phase: Phase
    done: int
    total: int
    unit: str = "steps"
    eta_seconds: float | None = None


class MetricsEvent(_Event):
    """One optimiser step, under TRL's names and ours (``docs/metrics.md``)."""

    type: Literal["metrics"] = "metrics"
    step: int
    total_steps: int
    values: dict[str, float]


class Rollout(BaseModel):
    """One sampled answer and what it was worth. ``reward`` is ``None`` when grading failed.

    ``reward`` is what was trained on: in a placebo job another answer's. ``sub_rewards`` are always its own.
    """

    model_config = ConfigDict(extra="forbid")
    index: int = Field(description="place in the step, 0-based")
    group: int = Field(description="rollouts of one prompt share it")
    row_id: str
    task: str = Field(default="", description="of a job with several tasks, the one it belongs to")
    prompt: str = Field(description="as rendered for the model")
    completion: str = Field(description="as graders saw it")
    reasoning: str = Field(default="", description="thoughts kept apart from the completion")
    reward: float | None
    sub_rewards: dict[str, float | None] = {}
    error_class: GradingErrorClass | None = None
    error_detail: str | None = None
    explanation: str = Field(default="", description="the judge's reasons")
    advantage: float | None
    length: int = Field(description="completion tokens, the end token included")
    truncated: bool
    adapter_step: int = Field(description="optimiser steps taken by the adapter that wrote it")
    held_out_reward: float | None = Field(
        default=None, description="by the held-out grader, which is never trained against"
    )


class RolloutsEvent(_Event):
    """All rollouts of one step."""

    type: Literal["rollouts"] = "rollouts"
    step: int
    rollouts: list[Rollout]


class CheckpointEvent(_Event):
    """A complete checkpoint lies in ``path``, relative to the attempt's folder."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str


class Interval(BaseModel):
    """A mean with its bootstrap interval over rows; without bounds where the rows are too few for one."""

    mean: float
    low: float | None
    high: float | None

    @property
    def is_above_zero(self) -> bool:
        """Whether there is an interval, and all of it lies above 0."""
        return self.low is not None and self.low > 0

    @property
    def is_below_zero(self) -> bool:
        """Whether there is an interval, and all of it lies below 0."""
        return self.high is not None and self.high < 0

    def scaled(self, factor: float) -> Interval:
        """The same times a number; a negative one turns the interval around."""
        mean = 0.0 + self.mean * factor
        if self.low is None or self.high is None:
            return Interval(mean=mean, low=None, high=None)
        low, high = sorted(0.0 + bound * factor for bound in (self.low, self.high))
        return Interval(mean=mean, low=low, high=high)


class Drift(BaseModel):
    """Forward KL from base to tuned in nats, estimated on answers that the base wrote."""

    per_answer: Interval = Field(description="summed over an answer's tokens; interval over rows")
    per_token: float = Field(description="all answers' sum over all answers' tokens")
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
    """One answer of one side to one row."""

    completion: str
    reasoning: str = ""
    reward: float | None
    sub_rewards: dict[str, float | None] = {}
    error_class: GradingErrorClass | None = None
    error_detail: str | None = None
    explanation: str = ""
    length: int
    truncated: bool


class EvaluationRow(BaseModel):
    """One held-out row with the answers of both sides."""

    row_id: str
    prompt: str = Field(description="as rendered for the model")
    messages: list[dict[str, Any]] = Field(default=[], description="the prompt as the dataset has it")
    tools: list[dict[str, Any]] = Field(default=[], description="that the prompt offers")
    item: dict[str, Any] = Field(default={}, description="the row's other fields, which graders read")
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

    rows: int = Field(description="with at least half of their answers graded, by both sides")
    trusted_k: int = Field(description="half as many answers as there are: beyond, estimates waver")
    crossover: int | None = Field(default=None, description="smallest k at which base has overtaken tuned")
    points: list[PairedPoint]


class Coverage(BaseModel):
    """Rows on which an side passes at least once, and what changed hands."""

    rows: int
    base: int
    tuned: int
    gained: int = Field(description="base never passes, tuned does")
    lost: int = Field(description="base passes, tuned never does")
    gained_by_chance: float = Field(description="expected if both sides were equally good on every row")
    lost_by_chance: float
    lost_share: Interval = Field(description="of all rows; Wilson's interval")


class LengthMatched(BaseModel):
    """The gain of a row whose answers kept their length: the intercept over length differences."""

    gain: Interval
    slope: float = Field(description="reward for each further token")
    length_change: float = Field(description="tokens an answer, tuned minus base, mean over rows")
    extrapolated: bool = Field(description="all rows' answers grew, or all shrank")


class Comparison(BaseModel):
    """What tuning changed, row by row (docs/statistics.md). ``rows`` have a grade from both sides."""

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

    Before training ``tuned`` and ``difference`` are absent: there is nothing to compare yet. Of a job with
    several tasks one event is about all rows, and has the answers; one more is about each ``task``.
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
    """What the model still does after ``step`` on one suite, and how far it has moved from the base there.

    ``suite`` is empty for the job's own held-out rows, of which only the drift is told: their rewards are in
    the evaluation. Before training only ``base`` is known.
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
    grading_errors: float = Field(default=0.0, description="share of ungraded answers, tuned's beyond base's")
    drift: Drift | None = None
    judge_cost: dict[str, float] = {}


class AlarmEvent(_Event):
    """A rule of ``workers/health`` began to fire. ``rollouts`` are the indices of the step's that show it."""

    type: Literal["alarm"] = "alarm"
    step: int
    code: str
    message: str
    threshold: str = Field(description="when the rule fires, in words")
    evidence: dict[str, float] = Field(description="what was measured, by its name in words")
    remedy: str
    rollouts: list[int] = []
    paused: bool = Field(default=False, description="the job pauses for it")


Verdict = Literal["go", "change_grader", "raise_length", "sft_first", "solved"]


class CurvePoint(BaseModel):
    """pass@k at one k, with its interval over rows."""

    k: int
    value: Interval


class Forecast(BaseModel):
    """Estimates for the whole job, from speeds measured in the preflight."""

    step_seconds: float
    seconds: Interval
    train_seconds: Interval = Field(description="of training with the evaluations on the way")
    judge_cost: Interval


class Advice(BaseModel):
    """Something that speaks against training, and what to do about it."""

    verdict: Verdict
    reason: str
    remedy: str


class PreflightSample(EvaluationSample):
    """One base answer of the preflight with its grading; long texts are cut."""

    row_id: str
    task: str = ""
    prompt: str = Field(description="as rendered for the model")


class PreflightEvent(_Event):
    """Whether training can work: base rollouts on training rows (docs/preflight.md)."""

    type: Literal["preflight"] = "preflight"
    rows: int
    samples_per_row: int
    histogram: list[int] = Field(description="rewards in equal bins from histogram_low to histogram_high")
    histogram_low: float
    histogram_high: float
    reward: Interval
    pass_curve: list[CurvePoint]
    no_signal: dict[str, Interval] = Field(description="group size as text -> share of groups")
    group_size: int = Field(description="the size to choose")
    truncated_share: float
    grading_error_share: float
    spread: float = Field(description="mean standard deviation of rewards within a row")
    detectable: float = Field(description="smallest improvement that the held-out rows show")
    held_out_rows: int
    rows_for_2_points: int
    forecast: Forecast
    verdict: Verdict
    reason: str
    remedy: str
    others: list[Advice] = Field(default=[], description="what else speaks against it, by what it explains")
    samples: list[PreflightSample] = Field(default=[], description="a few of the answers, to read")
    judge_cost: dict[str, float] = Field(default={}, description="money by judge, of the preflight itself")


class LogEvent(_Event):
    """A line for the job's log."""

    type: Literal["log"] = "log"
    level: Literal["info", "warning", "error"] = "info"
    message: str


class ErrorEvent(_Event):
    """Why the job cannot go on: cause, place and remedy in words for the person who launched it."""

    type: Literal["error"] = "error"
    code: str
    message: str
    remedy: str = ""
    detail: str = ""


class DoneEvent(_Event):
    """The last event. ``package`` is the adapter's folder relative to the attempt's folder.

    ``stopped`` is a stop from outside, ``paused`` the engine's own, with an error event before it.
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
    """One line back to its event. Raises ``pydantic.ValidationError`` if it is none."""
    return _EVENT.validate_json(line)


class EventWriter:
    """Appends events to a file, a line each, flushed at once."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __call__(self, event: Event) -> None:
        self._file.write(event.model_dump_json() + "\n")
        self._file.flush()


def follow(path: Path, offset: int) -> Iterator[tuple[Event, int]]:
    """Yield the complete events after byte ``offset`` with the offset behind each; a torn last line waits."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield parse(line), offset
