"""The metrics of training steps under the names of OpenAI's metrics events.

A number that Groove does not measure has no key; numbers about validation are only at steps that validate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import get_args

from django.db import connection
from django.db.models import Count, QuerySet

from webapp.jobs.models import Evaluation, Job, Metric
from workers.contract.events import GradingErrorClass, SideSummary
from workers.contract.json_types import JsonObject, JsonValue

ERROR_KINDS: tuple[str, ...] = get_args(GradingErrorClass)
JUDGE_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens")
TIMES = {"sampling": "time/generation", "grading": "time/grading", "training": "time/training",
         "full_iteration": "step_time"}  # fmt: skip
# Completions hold long texts, so the database counts; only numbers leave it.
VALIDATION_ERRORS = """
    select row.evaluation_id, coalesce(sample ->> 'error_class', ''), count(*)
    from jobs_comparedrow row, jsonb_array_elements(row.tuned) sample
    where row.evaluation_id = any(%s) group by 1, 2
"""
VALIDATION_SCORES = """
    select row.evaluation_id, score.key, avg(score.value::float)
    from jobs_comparedrow row, jsonb_array_elements(row.tuned) sample,
         jsonb_each_text(sample -> 'sub_rewards') score
    where row.evaluation_id = any(%s) and score.value is not null group by 1, 2
"""


@dataclass
class Samples:
    """The completions of a step, or of its validation: their error classes, and means of sub-rewards."""

    errors: Counter[str] = field(default_factory=Counter)  # "" counts those without an error
    scores: dict[str, float] = field(default_factory=dict)

    def describe_errors(self, prefix: str) -> JsonObject:
        """Return count and share of every kind of error; empty without completions."""
        total = self.errors.total()
        values: JsonObject = {}
        for kind in ERROR_KINDS if total else ():
            values[f"{prefix}_{kind}_mean"] = self.errors[kind] / total
            values[f"{prefix}_{kind}_count"] = float(self.errors[kind])
        return values

    def compute_share(self, kind: str) -> float | None:
        """Return the share of completions with this error; None without completions."""
        return self.errors[kind] / self.errors.total() if self.errors.total() else None


@dataclass
class Step:
    """What is recorded about one step."""

    number: int
    values: dict[str, float]  # ``Metric.values``
    rollouts: Samples
    validation: SideSummary | None = None
    validated: Samples = field(default_factory=Samples)


def describe_steps(job: Job, metrics: Sequence[Metric]) -> list[JsonObject]:
    """Return the metrics of the steps that ``metrics`` are of, in the same order."""
    steps = _read_steps(job, metrics)
    describe = _describe_rft if job.training_method.samples else _describe_sft
    return [_drop_absent(describe(job, step)) for step in steps]


def _read_steps(job: Job, metrics: Sequence[Metric]) -> list[Step]:
    numbers = [metric.step for metric in metrics]
    evaluations = select_validations(job).filter(step__in=numbers)
    by_step = {evaluation.step: evaluation for evaluation in evaluations}
    validated = _read_validated([evaluation.pk for evaluation in by_step.values()])
    rollouts = _count_rollouts(job, numbers)
    steps = []
    for metric in metrics:
        step = Step(metric.step, metric.values, rollouts.get(metric.step) or Samples())
        if evaluation := by_step.get(metric.step):
            step.validation = evaluation.tuned
            step.validated = validated.get(evaluation.pk) or Samples()
        steps.append(step)
    return steps


def select_validations(job: Job) -> QuerySet[Evaluation]:
    """Return the job's evaluations on validation rows while it trained."""
    return job.evaluations.filter(stage="during", split="validation", task="")


def _count_rollouts(job: Job, steps: Sequence[int]) -> dict[int, Samples]:
    found: dict[int, Samples] = {}
    rollouts = job.rollouts.filter(step__in=steps).order_by()
    for step, error, count in rollouts.values_list("step", "error_class").annotate(Count("pk")):
        found.setdefault(step, Samples()).errors[error] = count
    return found


def _read_validated(evaluations: list[int]) -> dict[int, Samples]:
    found: dict[int, Samples] = {}
    if not evaluations:
        return found
    with connection.cursor() as cursor:
        cursor.execute(VALIDATION_ERRORS, [evaluations])
        for pk, error, count in cursor.fetchall():
            found.setdefault(pk, Samples()).errors[error] = count
        cursor.execute(VALIDATION_SCORES, [evaluations])
        for pk, name, mean in cursor.fetchall():
            found.setdefault(pk, Samples()).scores[name] = mean
    return found


# --- one step --------------------------------------------------------------------------------------


def _describe_rft(job: Job, step: Step) -> JsonObject:
    values, validation = step.values, step.validation
    reward, valid = values.get("reward"), validation.reward.mean if validation else None
    return {
        "step": step.number,
        "total_steps": job.total_steps,
        "train_mean_reward": reward,
        "full_valid_mean_reward": valid,
        "train_reward_mean": reward,
        "valid_reward_mean": valid,
        "full_valid_mean_parse_error": step.validated.compute_share("sample_parse_error"),
        "completion_tokens_mean": values.get("completions/mean_length"),
        "valid_completion_tokens_mean": validation.mean_length if validation else None,
        "mean_unresponsive_rewards": step.rollouts.compute_share("unresponsive_reward_error"),
        "scores": {
            "train_reward_mean": reward,
            "valid_reward_mean": valid,
            "graders": [*_list_scores(job, step)],
        },
        "errors": {"graders": [_describe_errors(job, step)]},
        "timing": {"step": {name: values.get(metric) for name, metric in TIMES.items()}},
        "model_graders_token_usage": _describe_judges(values),
    }


def _describe_sft(job: Job, step: Step) -> JsonObject:
    valid = step.validation.reward.mean if step.validation else None
    return {
        "step": step.number,
        "total_steps": job.total_steps,
        "train_loss": step.values.get("loss"),
        "train_mean_token_accuracy": step.values.get("mean_token_accuracy"),
        "full_valid_mean_reward": valid,
        "valid_reward_mean": valid,
        "timing": {"step": {"full_iteration": step.values.get("step_time")}},
    }


def _list_scores(job: Job, step: Step) -> Iterable[JsonValue]:
    """Yield the rewards of the grader; of one with sub-rewards, each of those instead."""
    definition = job.grader_version.definition
    parts = definition.get("graders") if definition["type"] == "multi" else None
    kinds = {name: part["type"] for name, part in parts.items()} if isinstance(parts, dict) else {}
    train = {
        name.removeprefix("rewards/").removesuffix("/mean"): value
        for name, value in step.values.items()
        if name.startswith("rewards/") and name.endswith("/mean") and name != "rewards/grader/mean"
    }
    valid = step.validated.scores
    for name in dict.fromkeys([*train, *valid]):
        yield {
            "name": name,
            "type": kinds.get(name, definition["type"]),
            "train_reward_mean": train.get(name),
            "valid_reward_mean": valid.get(name),
        }
    if not train and not valid:
        yield {
            **_name_grader(job),
            "train_reward_mean": step.values.get("reward"),
            "valid_reward_mean": step.validation.reward.mean if step.validation else None,
        }


def _name_grader(job: Job) -> JsonObject:
    definition = job.grader_version.definition
    return {"name": definition.get("name", "grader"), "type": definition["type"]}


def _describe_errors(job: Job, step: Step) -> JsonObject:
    errors = step.rollouts.describe_errors("train") | step.validated.describe_errors("valid")
    return _name_grader(job) | errors


def _describe_judges(values: dict[str, float]) -> JsonObject:
    """Return the tokens of each judge in the step's gradings."""
    usage: JsonObject = {}
    for name, number in values.items():
        judge, _, quantity = name.removeprefix("judge/").rpartition("/")
        if name.startswith("judge/") and judge and quantity in JUDGE_TOKENS:
            tokens = usage.setdefault(judge, {})
            assert isinstance(tokens, dict)
            tokens[f"train_{quantity}"] = int(number)
    return usage


def _drop_absent(values: JsonObject) -> JsonObject:
    """Return the same without what is not measured, at every level."""
    kept: JsonObject = {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = _drop_absent(value)
        elif isinstance(value, list):
            value = [_drop_absent(each) if isinstance(each, dict) else each for each in value]
        if value is not None and value != {}:
            kept[name] = value
    return kept
