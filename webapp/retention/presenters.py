"""Data of the retention page: a row for each suite, and the plane of gain and retention."""

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

    ``kept`` is the change of the selected suite, or of the one that lost most; ``kl`` is the drift on the
    job's own rows in nats a completion.
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


def build_plane(job: Job, suite: str = WORST) -> list[Point]:
    """Return the base first, then every checkpoint that was evaluated on its suites, in order."""
    scores: dict[tuple[str, int], list[SuiteScore]] = {}
    for score in job.suite_scores.all():
        scores.setdefault((score.stage, score.step), []).append(score)
    points = [Point(0, False, 0.0, 0.0, "", 0.0)]
    for evaluation in job.evaluations.filter(task="", difference__isnull=False).order_by("step", "id"):
        point = _build_point(evaluation, scores.get((evaluation.stage, evaluation.step), []), suite)
        points += [point] if point else []
    return points


def _build_point(evaluation: Evaluation, scores: Sequence[SuiteScore], suite: str) -> Point | None:
    measured = [score for score in scores if score.forgetting and suite in (WORST, score.suite)]
    if not measured or evaluation.difference is None:
        return None
    worst = max(measured, key=_measure_loss)
    return Point(
        step=evaluation.step,
        final=evaluation.stage == "after",
        gain=evaluation.difference.mean,
        kept=0.0 - _measure_loss(worst),
        suite=worst.suite,
        kl=next((score.drift.per_answer.mean for score in scores if not score.suite and score.drift), None),
    )


def _measure_loss(score: SuiteScore) -> float:
    assert score.forgetting, f"{score} has no forgetting"
    return score.forgetting.mean


def to_change(forgetting: Interval) -> Interval:
    """Turn forgetting (base minus tuned) into the change that pages show: below 0 for a loss."""
    return forgetting.scaled(-1.0)


def build_plane_json(points: Sequence[Point]) -> str:
    """Return the points as JSON for ``static/js/plane.js``."""
    data = [{"gain": p.gain, "kept": p.kept, "label": p.label, "kl": p.kl, "final": p.final} for p in points]
    return json.dumps(data)


def find_latest_scores(scores: Sequence[SuiteScore]) -> dict[str, SuiteScore]:
    """Return the last score of each suite: after training if there is one, else of the last checkpoint."""
    order = {"before": 0, "during": 1, "after": 2}
    ordered = sorted(scores, key=lambda score: (order[score.stage], score.step))
    return {score.suite: score for score in ordered}
