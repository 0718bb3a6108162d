"""How retention is drawn: a row a suite, and the plane of gain against retention."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.jobs.models import Evaluation, Job, SuiteScore
from workers.contract.events import Interval

WORST = ""


@dataclass(frozen=True)
class Point:
    """One evaluated checkpoint. ``gain`` and ``kept`` are changes of the mean reward, 0 for the base.

    ``kept`` is the change of the suite that is shown, or of the one that lost most; ``kl`` is the drift on
    the job's own rows, nats an answer.
    """

    step: int
    final: bool
    gain: float
    kept: float
    suite: str
    kl: float | None

    @property
    def label(self) -> str:
        if not self.step:
            return "base"
        return f"{self.step}, final" if self.final else str(self.step)


def plane(job: Job, wanted: str = WORST) -> list[Point]:
    """The base first, then every checkpoint that has been evaluated with its suites, in order."""
    scores: dict[tuple[str, int], list[SuiteScore]] = {}
    for score in job.suite_scores.all():
        scores.setdefault((score.stage, score.step), []).append(score)
    points = [Point(0, False, 0.0, 0.0, "", 0.0)]
    for evaluation in job.evaluations.filter(task="", difference__isnull=False).order_by("step", "id"):
        point = _point(evaluation, scores.get((evaluation.stage, evaluation.step), []), wanted)
        points += [point] if point else []
    return points


def _point(evaluation: Evaluation, scores: Sequence[SuiteScore], wanted: str) -> Point | None:
    measured = [score for score in scores if score.forgetting and wanted in (WORST, score.suite)]
    if not measured or evaluation.difference is None:
        return None
    worst = max(measured, key=_lost)
    return Point(
        step=evaluation.step,
        final=evaluation.stage == "after",
        gain=evaluation.difference.mean,
        kept=0.0 - _lost(worst),
        suite=worst.suite,
        kl=next((score.drift.per_answer.mean for score in scores if not score.suite and score.drift), None),
    )


def _lost(score: SuiteScore) -> float:
    assert score.forgetting, f"{score} has no forgetting"
    return score.forgetting.mean


def change_of(forgetting: Interval) -> Interval:
    """Forgetting (base minus tuned) as the change that pages show: tuned minus base, below 0 for a loss."""
    return forgetting.scaled(-1.0)


def drawn(points: Sequence[Point]) -> str:
    """The points as the chart reads them: JSON."""
    shown = [{"gain": p.gain, "kept": p.kept, "label": p.label, "kl": p.kl, "final": p.final} for p in points]
    return json.dumps(shown)


def latest(scores: Sequence[SuiteScore]) -> dict[str, SuiteScore]:
    """Suite -> its last score: after training if there is one, otherwise of the last checkpoint."""
    order = {"before": 0, "during": 1, "after": 2}
    ordered = sorted(scores, key=lambda score: (order[score.stage], score.step))
    return {score.suite: score for score in ordered}
