"""A grader trial runs in a folder of its attempt, and stores its grades."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from webapp.graders.models import GraderTrial
from webapp.graders.queues import TRIALS
from webapp.teams.models import Team
from workers.bridge.graders import trials

State = GraderTrial.State
STRING_CHECK = {
    "type": "string_check", "name": "same", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
}  # fmt: skip


@pytest.fixture
def trial(team: Team) -> GraderTrial:
    rows = [{"row_id": "r1", "messages": [], "item": {"answer": "4"}}]
    choices = {"answers": ["typed"], "answer": "4"}
    return GraderTrial.objects.create(team=team, definition=STRING_CHECK, rows=rows, choices=choices)


def expire(trial: GraderTrial) -> None:
    GraderTrial.objects.filter(pk=trial.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_late_worker_leaves_the_folder_of_the_next_attempt_alone(
    trial: GraderTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def overtake(late: GraderTrial, answers: list[object], *others: object) -> list[object]:
        """While the first attempt grades, its lease ends and a second attempt begins."""
        expire(late)
        TRIALS.requeue_silent()
        second = TRIALS.claim(late.pk)
        assert second is not None
        folders.append(settings.WORK_DIR / "trials" / f"{second.pk}-{second.attempt}")
        folders[0].mkdir(parents=True)
        return graded(late, answers, *others)

    graded = trials._grade
    monkeypatch.setattr(trials, "_grade", overtake)
    trials.run_trial(trial.pk)
    trial.refresh_from_db()
    assert (trial.state, trial.attempt) == (State.RUNNING, 2)
    assert folders[0].exists()
    folders[0].rmdir()


def test_a_trial_runs_and_stores_its_grades(trial: GraderTrial) -> None:
    trials.run_trial(trial.pk)
    trial.refresh_from_db()
    assert trial.error is None
    assert trial.summary == {"answers": 1, "mean": 1.0, "errors": 0}
    assert not list((settings.WORK_DIR / "trials").glob(f"{trial.pk}-*"))
