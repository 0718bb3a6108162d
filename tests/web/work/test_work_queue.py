"""Every kind of work item has one attempt at a time, and a late worker changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from tests.web.comparison import finished_job, tuned_model
from tests.web.concurrency import run_at_once
from tests.web.evals.runs import queued_run
from webapp.calibration.models import JudgeCard
from webapp.datasets.uploads import imports
from webapp.endpoints import services as endpoints
from webapp.environments.models import EnvironmentVersion
from webapp.environments.plays.services import start_play
from webapp.environments.services import create_environment, request_task_dataset
from webapp.graders.models import GraderTrial
from webapp.graders.queues import CHECKS, request_check
from webapp.jobs.models import Job, RowBuild
from webapp.jobs.states import State as JobState
from webapp.registry import exporting, inspections
from webapp.registry.models import BaseModel
from webapp.remote_imports.models import RemoteImport
from webapp.serving.models import ModelServer
from webapp.teams.models import Team, User
from webapp.work.errors import LeaseLost, WorkError, WorkFailed
from webapp.work.models import WorkState
from webapp.work.queue import Queue
from workers.environments.examples import list_examples
from workers.tasks import QUEUES

LATE = WorkFailed("late", "nothing")


def queued_job(team: Team, user: User) -> Any:
    job = finished_job(team, user)
    Job.objects.filter(pk=job.pk).update(state=JobState.QUEUED, attempt=0)
    return job


def queued_trial(team: Team, user: User) -> Any:
    return GraderTrial.objects.create(team=team, definition={}, rows=[])


def queued_check(team: Team, user: User) -> Any:
    version = finished_job(team, user).grader_version
    request_check(version)
    return version.check_run


def queued_card(team: Team, user: User) -> Any:
    version = finished_job(team, user).grader_version
    return JudgeCard.objects.create(team=team, grader_version=version, labels=[], created_by=user)


def queued_endpoint_check(team: Team, user: User) -> Any:
    endpoint = endpoints.connect_endpoint(team, user, name="judge", base_url="https://judge.example/v1")
    endpoints.request_check(endpoint)
    return endpoint.last_check


def queued_export(team: Team, user: User) -> Any:
    return exporting.request_export(tuned_model(finished_job(team, user)), user, "merged")


def queued_inspection(team: Team, user: User) -> Any:
    base = BaseModel.objects.create(team=team, model_id="some/model")
    inspections.request_inspection(base)
    return base.inspection


def queued_import(team: Team, user: User) -> Any:
    options = imports.Options()
    return imports.request_import(
        team, user, source="https://files.example/a.jsonl", name="", options=options, dataset=None
    )


def queued_eval_run(team: Team, user: User) -> Any:
    return queued_run(team)


def queued_server(team: Team, user: User) -> Any:
    return ModelServer.objects.create(base_model=BaseModel.objects.create(team=team, model_id="some/model"))


def queued_remote_import(team: Team, user: User) -> Any:
    return RemoteImport.objects.create(
        team=team, base_url="https://api.example/v1", ticket="t", files=["file-1"], created_by=user
    )


def saved_environment(team: Team, user: User) -> EnvironmentVersion:
    source = next(example.source for example in list_examples())
    return create_environment(team, user, "numbers", source).versions.get()


def queued_environment_inspection(team: Team, user: User) -> Any:
    return saved_environment(team, user).inspection


def queued_task_dataset(team: Team, user: User) -> Any:
    return request_task_dataset(saved_environment(team, user), user, 1)


def queued_play(team: Team, user: User) -> Any:
    return start_play(saved_environment(team, user), user, "train", {}, by_oracle=False)


def queued_row_build(team: Team, user: User) -> Any:
    return RowBuild.objects.create(job=finished_job(team, user))


MAKERS: dict[str, Callable[[Team, User], Any]] = {
    "jobs": queued_job,
    "trials": queued_trial,
    "checks": queued_check,
    "cards": queued_card,
    "endpoint_checks": queued_endpoint_check,
    "exports": queued_export,
    "inspections": queued_inspection,
    "imports": queued_import,
    "model_servers": queued_server,
    "remote_imports": queued_remote_import,
    "eval_runs": queued_eval_run,
    "environment_inspections": queued_environment_inspection,
    "task_datasets": queued_task_dataset,
    "plays": queued_play,
    "row_builds": queued_row_build,
}
every_queue = pytest.mark.parametrize("queue", QUEUES, ids=[queue.name for queue in QUEUES])


def expire(queue: Queue[Any], item: Any) -> None:
    """Let the lease of the item expire."""
    queue.model._default_manager.filter(pk=item.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    queue.requeue_silent()


@every_queue
def test_a_late_worker_changes_nothing_once_another_attempt_has_the_item(
    queue: Queue[Any], team: Team, alice: User
) -> None:
    item = MAKERS[queue.name](team, alice)
    late = queue.claim(item.pk)
    assert late is not None
    assert queue.claim(item.pk) is None, "one attempt at a time"
    queue.renew(late)
    queue.requeue_silent()
    queue.renew(late)  # a renewed lease is not silence
    expire(queue, item)
    second = queue.claim(item.pk)
    assert second is not None
    assert (late.attempt, second.attempt, second.crashes) == (1, 2, 1)
    with pytest.raises(LeaseLost):
        queue.renew(late)
    assert not queue.fail(late, LATE)
    assert not queue.finish(late, JobState.SUCCEEDED if queue.name == "jobs" else WorkState.FINISHED)
    queue.crash(late, "late")
    item.refresh_from_db()
    assert (item.state, item.attempt, item.crashes, item.error) == (WorkState.RUNNING, 2, 1, None)
    assert queue.fail(second, WorkFailed("No room.", "Make some."))
    item.refresh_from_db()
    assert (item.state, item.error) == ("failed", WorkError(message="No room.", remedy="Make some."))


@every_queue
def test_an_item_whose_workers_keep_crashing_fails_with_a_remedy(
    queue: Queue[Any], team: Team, alice: User
) -> None:
    item = MAKERS[queue.name](team, alice)
    for _ in range(settings.MAX_CRASHES + 1):
        assert queue.claim(item.pk) is not None
        expire(queue, item)
    item.refresh_from_db()
    assert item.state == "failed"
    assert f"{settings.MAX_CRASHES + 1} times" in item.error.message
    assert item.error.remedy == queue.remedy


@pytest.mark.parametrize("queue", QUEUES[1:], ids=[queue.name for queue in QUEUES[1:]])
def test_enqueueing_a_running_item_ends_its_attempt(queue: Queue[Any], team: Team, alice: User) -> None:
    item = MAKERS[queue.name](team, alice)
    running = queue.claim(item.pk)
    queue.enqueue(item)
    assert not queue.finish(running)
    again = queue.claim(item.pk)
    assert again is not None
    assert queue.finish(again)
    item.refresh_from_db()
    assert (item.state, item.attempt, item.pending) == (WorkState.FINISHED, 2, False)


@pytest.mark.django_db(transaction=True)
def test_only_one_of_many_concurrent_claims_gets_the_item(team: Team, alice: User) -> None:
    check = queued_check(team, alice)
    claims = run_at_once(*(lambda: CHECKS.claim(check.pk) for _ in range(6)))
    assert [getattr(claim, "attempt", claim) for claim in claims if claim is not None] == [1]
