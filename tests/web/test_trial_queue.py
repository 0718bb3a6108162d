"""A grader trial is run by one attempt at a time, and a late worker changes nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from webapp.graders import trial_queue
from webapp.graders.models import GraderTrial
from webapp.teams.models import Team
from workers.bridge import trials

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


def test_two_workers_do_not_run_one_trial(trial: GraderTrial) -> None:
    first = trial_queue.claim_trial(trial.pk)
    assert first is not None
    assert first.attempt == 1
    assert trial_queue.claim_trial(trial.pk) is None


def test_a_late_worker_changes_nothing_once_another_attempt_runs(trial: GraderTrial) -> None:
    late = trial_queue.claim_trial(trial.pk)
    assert late is not None
    expire(trial)
    trial_queue.requeue_silent_trials()
    second = trial_queue.claim_trial(trial.pk)
    assert second is not None
    assert second.attempt == 2
    assert not trial_queue.renew_trial(late)
    assert not trial_queue.finish_trial(late, [{"reward": 0.0}], {"answers": 1})
    assert not trial_queue.fail_trial(late, "late", "")
    trial.refresh_from_db()
    assert (trial.state, trial.results, trial.attempt) == (State.RUNNING, [], 2)
    assert trial_queue.finish_trial(second, [{"reward": 1.0}], {"answers": 1})


def test_a_late_worker_leaves_the_folder_of_the_next_attempt_alone(
    trial: GraderTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def overtake(late: GraderTrial, answers: list[object], folder: Path) -> list[object]:
        """While the first attempt grades, its lease ends and a second attempt begins."""
        expire(late)
        trial_queue.requeue_silent_trials()
        second = trial_queue.claim_trial(late.pk)
        assert second is not None
        folders.append(settings.WORK_DIR / "trials" / f"{second.uid}-{second.attempt}")
        folders[0].mkdir(parents=True)
        return graded(late, answers, folder)

    graded = trials._graded
    monkeypatch.setattr(trials, "_graded", overtake)
    trials.run_trial(trial.pk)
    trial.refresh_from_db()
    assert (trial.state, trial.attempt) == (State.RUNNING, 2)
    assert folders[0].exists()
    folders[0].rmdir()


def test_a_trial_whose_workers_keep_crashing_fails_with_a_remedy(trial: GraderTrial) -> None:
    for _ in range(settings.MAX_DEATHS + 1):
        assert trial_queue.claim_trial(trial.pk)
        expire(trial)
        trial_queue.requeue_silent_trials()
    trial.refresh_from_db()
    assert trial.state == State.FAILED
    assert "stopped responding in 4 attempts" in trial.error["message"]


def test_a_trial_runs_and_stores_its_grades(trial: GraderTrial) -> None:
    trials.run_trial(trial.pk)
    trial.refresh_from_db()
    assert trial.error is None
    assert trial.summary == {"answers": 1, "mean": 1.0, "errors": 0}
    assert not list((settings.WORK_DIR / "trials").glob(f"{trial.uid}*"))
