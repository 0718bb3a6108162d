"""The gate: a tuned model is ready only if no suite with a margin may have lost more than it.

Of each such suite the whole interval must lie within the margin: the upper bound of the loss, which is the
lower bound of the change turned around, must not exceed ``max_loss``. Too few rows show nothing, and answers
that only the tuned model gives so that nobody can grade them may hide a loss: neither passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from webapp.jobs.models import Job, JobSuite, SuiteScore
from webapp.registry.models import TunedModel
from webapp.retention.models import Release
from workers.contract.statistics import FEWEST_ROWS, allow_interval

MOST_ERRORS = 0.02  # of tuned's answers without a grade, beyond base's

READY, HELD_BACK, RELEASED, WAITING, NONE = "ready", "held back", "released", "waiting", ""


@dataclass(frozen=True)
class Verdict:
    """One suite with what it scored after training. ``passed`` is ``None`` for one without a margin."""

    suite: JobSuite
    score: SuiteScore | None
    passed: bool | None

    @property
    def reason(self) -> str:
        """Why it does not pass, in words; empty if it does or has no margin."""
        if self.passed is not False:
            return ""
        if self.score is None or self.score.forgetting is None:
            return f"{self.suite} was not measured after training."
        loss, allowed = self.score.forgetting.high, self.suite.max_loss
        if not allow_interval(self.score.rows) or loss is None:
            return f"{self.suite} has {self.score.rows} graded rows: fewer than {FEWEST_ROWS} show nothing."
        if self.score.grading_errors > MOST_ERRORS:
            share = f"{self.score.grading_errors:.0%}"
            return (
                f"{self.suite}: {share} more of the tuned model's answers than of the base's have no grade."
            )
        return f"{self.suite} may have lost up to {loss:.3f}, and {allowed:g} is allowed."


@dataclass(frozen=True)
class Gate:
    """``state`` is one of the constants above: nothing is gated, or the gate's word."""

    state: str
    verdicts: list[Verdict]
    release: Release | None = None

    @property
    def gated(self) -> int:
        """Suites with a margin."""
        return sum(verdict.passed is not None for verdict in self.verdicts)

    @property
    def reasons(self) -> list[str]:
        """Why the gate holds the model back."""
        return [verdict.reason for verdict in self.verdicts if verdict.reason]


def within(score: SuiteScore | None, max_loss: float | None) -> bool | None:
    """Whether all of the loss's interval stays within the margin; ``None`` without a margin.

    What was not measured, or not well enough to tell, does not pass.
    """
    if max_loss is None:
        return None
    if score is None or score.forgetting is None:
        return False
    bound = score.forgetting.high
    if bound is None or not allow_interval(score.rows) or score.grading_errors > MOST_ERRORS:
        return False
    return bound <= max_loss


def verdicts(suites: Iterable[JobSuite], scores: Iterable[SuiteScore]) -> list[Verdict]:
    """Every suite with its last score after training."""
    after = {score.suite: score for score in scores if score.stage == "after"}
    return [_verdict(suite, after.get(suite.name)) for suite in suites]


def _verdict(suite: JobSuite, score: SuiteScore | None) -> Verdict:
    return Verdict(suite, score, within(score, suite.max_loss))


def of_job(job: Job) -> Gate:
    """The gate of a job whose model may not be there yet."""
    judged = verdicts(job.suites.all(), job.suite_scores.all())
    if all(verdict.passed is None for verdict in judged):
        return Gate(NONE, judged)
    if job.tuned_model is None:
        return Gate(WAITING, judged)
    if all(verdict.passed is not False for verdict in judged):
        return Gate(READY, judged)
    release = getattr(job.tuned_model, "release", None)
    return Gate(RELEASED if release else HELD_BACK, judged, release)


def marked(models: Iterable[TunedModel]) -> list[TunedModel]:
    """The models, each with its ``gate``."""
    shown = list(models)
    for model in shown:
        model.gate = of(model)  # type: ignore[attr-defined]
    return shown


def of(model: TunedModel) -> Gate:
    """The gate of a model; one that no job here made has nothing to pass."""
    job = getattr(model, "job", None)
    return of_job(job) if job else Gate(NONE, [])
