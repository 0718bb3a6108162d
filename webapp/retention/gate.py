"""The gate: a tuned model is ready only if no suite with a margin may have lost more than the margin.

For each such suite the whole interval must lie within the margin: the upper bound of the loss (minus the
lower bound of the change) must not exceed ``max_loss``. A suite with too few rows does not pass, nor one with
many more completions without a grade than before: they may hide a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from webapp.jobs.models import Job, JobSuite, SuiteScore
from webapp.registry.models import TunedModel
from webapp.retention.models import Release
from workers.contract.statistics import FEWEST_ROWS, allow_interval

MOST_ERRORS = 0.02  # share of completions without a grade, tuned minus base

READY, HELD_BACK, RELEASED, WAITING, NONE = "ready", "held back", "released", "waiting", ""


@dataclass(frozen=True)
class Verdict:
    """A suite with its score after training. ``passed`` is ``None`` without a margin."""

    suite: JobSuite
    score: SuiteScore | None
    passed: bool | None

    @property
    def reason(self) -> str:
        """Why the suite does not pass; empty if it does or has no margin."""
        if self.passed is not False:
            return ""
        if self.score is None or self.score.forgetting is None:
            return f"{self.suite} was not measured after training."
        loss, allowed = self.score.forgetting.high, self.suite.max_loss
        if not allow_interval(self.score.rows) or loss is None:
            return f"{self.suite} has {self.score.rows} graded rows, but {FEWEST_ROWS} are needed."
        if self.score.grading_errors > MOST_ERRORS:
            share = f"{self.score.grading_errors:.0%}"
            return (
                f"{self.suite}: {share} more of the tuned model's answers than of the base's have no grade."
            )
        return f"{self.suite} may have lost up to {loss:.3f}, and {allowed:g} is allowed."


@dataclass(frozen=True)
class Gate:
    """The gate's decision; ``state`` is one of the constants above."""

    state: str
    verdicts: list[Verdict]
    release: Release | None = None

    @property
    def gated(self) -> int:
        """The number of suites with a margin."""
        return sum(verdict.passed is not None for verdict in self.verdicts)

    @property
    def reasons(self) -> list[str]:
        """Why the gate holds the model back."""
        return [verdict.reason for verdict in self.verdicts if verdict.reason]


def is_within_margin(score: SuiteScore | None, max_loss: float | None) -> bool | None:
    """Return True if the whole interval of the loss lies within the margin; ``None`` without a margin.

    A suite that was not measured, or not precisely enough, does not pass.
    """
    if max_loss is None:
        return None
    if score is None or score.forgetting is None:
        return False
    bound = score.forgetting.high
    if bound is None or not allow_interval(score.rows) or score.grading_errors > MOST_ERRORS:
        return False
    return bound <= max_loss


def judge_suites(suites: Iterable[JobSuite], scores: Iterable[SuiteScore]) -> list[Verdict]:
    """Return a verdict on every suite, by its last score after training."""
    after = {score.suite: score for score in scores if score.stage == "after"}
    return [
        Verdict(suite, after.get(suite.name), is_within_margin(after.get(suite.name), suite.max_loss))
        for suite in suites
    ]


def check_job(job: Job) -> Gate:
    """Return the gate of a job, which may have no model yet."""
    verdicts = judge_suites(job.suites.all(), job.suite_scores.all())
    if all(verdict.passed is None for verdict in verdicts):
        return Gate(NONE, verdicts)
    if job.tuned_model is None:
        return Gate(WAITING, verdicts)
    if all(verdict.passed is not False for verdict in verdicts):
        return Gate(READY, verdicts)
    release = getattr(job.tuned_model, "release", None)
    return Gate(RELEASED if release else HELD_BACK, verdicts, release)


def check_model(model: TunedModel) -> Gate:
    """Return the gate of a model; an uploaded one has nothing to pass."""
    job = getattr(model, "job", None)
    return check_job(job) if job else Gate(NONE, [])


def add_gates(models: Iterable[TunedModel]) -> list[TunedModel]:
    """Return the models, each with its ``gate``."""
    found = list(models)
    for model in found:
        model.gate = check_model(model)  # type: ignore[attr-defined]
    return found
