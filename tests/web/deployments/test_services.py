"""A deployment answers with one version; its log only grows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from tests.web.comparison import finished_job
from tests.web.deployments.targets import first, second
from webapp.catalog.model_names import find_target
from webapp.core.api.errors import ApiError
from webapp.deployments import services
from webapp.deployments.models import Promotion
from webapp.jobs import checkpoints
from webapp.jobs.listing import removal
from webapp.jobs.models import Job
from webapp.teams.models import AuditEvent, Team, User


def stable(team: Team) -> str:
    found = services.find_deployment(team, "invoices")
    assert found is not None
    return found.stable.adapter_sha256[:1]


def test_deploying_under_a_name_again_moves_it_and_rolling_back_undoes_that(team: Team, alice: User) -> None:
    one, two = first(team), second(team)
    services.deploy(team, alice, "invoices", one)
    deployment = services.deploy(team, alice, "invoices", two)
    assert stable(team) == "b"
    services.roll_back(deployment, alice, "too slow")
    assert stable(team) == "a"
    services.deploy(team, alice, "invoices", two)
    assert deployment.versions.count() == 2
    log = list(deployment.promotions.values_list("kind", "version__number", "reason"))
    assert log == [("promote", 2, ""), ("rollback", 1, "too slow"), ("promote", 2, ""), ("promote", 1, "")]
    verbs = AuditEvent.objects.filter(team=team).values_list("verb", flat=True)
    assert {"deployed", "rolled back"} <= set(verbs)


def test_rolling_back_goes_back_step_by_step_and_then_refuses(team: Team, alice: User) -> None:
    one, two = first(team), second(team)
    for target in (one, two, one):
        deployment = services.deploy(team, alice, "invoices", target)
    for expected in ("b", "a"):
        services.roll_back(deployment, alice)
        assert stable(team) == expected
    with pytest.raises(services.NothingToRollBackTo, match="no earlier version"):
        services.roll_back(deployment, alice)


def test_two_people_who_roll_back_at_once_go_back_one_step(team: Team, alice: User, erin: User) -> None:
    one, two = first(team), second(team)
    for target in (one, two, one):
        deployment = services.deploy(team, alice, "invoices", target)
    seen = deployment.stable.uid
    services.roll_back(deployment, alice, leaving=seen)
    with pytest.raises(services.NothingToRollBackTo, match="answers by now"):
        services.roll_back(deployment, erin, leaving=seen)
    assert stable(team) == "b"


def test_versions_and_promotions_never_change(team: Team, alice: User) -> None:
    deployment = services.deploy(team, alice, "invoices", first(team))
    for row in (deployment.stable, Promotion.objects.get()):
        with pytest.raises(TypeError, match="never change"):
            row.save()


def test_a_deleted_model_is_not_rolled_back_to(team: Team, alice: User) -> None:
    one = first(team)
    services.deploy(team, alice, "invoices", one)
    deployment = services.deploy(team, alice, "invoices", second(team))
    assert one.tuned_model is not None
    one.tuned_model.mark_deleted()
    with pytest.raises(services.VersionGone, match="was deleted"):
        services.roll_back(deployment, alice)
    assert stable(team) == "b"


def test_checkpoints_that_roll_back_reaches_survive_pruning_and_the_end_of_their_job(
    team: Team, alice: User, django_capture_on_commit_callbacks: Any
) -> None:
    job = finished_job(team, alice)
    for step in range(1, 8):
        key = default_storage.save(f"tests/{step}", ContentFile(b"archive"))
        job.checkpoints.create(
            step=step, attempt=1, key=key, bytes=7, sha256="0", adapter_sha256=f"{step}" * 64
        )
    deployed = [job.checkpoints.get(step=step) for step in (1, 2)]
    for checkpoint in deployed:
        target = find_target(team, checkpoint.model_name)
        assert target is not None
        deployment = services.deploy(team, alice, "invoices", target)
    with django_capture_on_commit_callbacks(execute=True):
        checkpoints.discard_old(job)
    assert [each.step for each in job.checkpoints.all()] == [7, 6, 5, 4, 2, 1]
    Job.objects.update(deleted_at=timezone.now() - timedelta(days=400))
    with django_capture_on_commit_callbacks(execute=True):
        assert removal.purge_deleted() == 1
    assert [each.step for each in job.checkpoints.all()] == [2, 1]
    assert all(default_storage.exists(each.key) for each in deployed)
    assert removal.purge_deleted() == 0
    services.roll_back(deployment, alice)
    assert stable(team) == "1"


@pytest.mark.parametrize("name", ["", "Invoices", "a b", "ft:x", "-a", "a" * 65, "a/b", "a\n"])
def test_names_that_would_confuse_callers_are_refused(team: Team, alice: User, name: str) -> None:
    with pytest.raises(ApiError, match="cannot name"):
        services.deploy(team, alice, name, first(team))


def test_a_deployment_does_not_hide_a_base_model(team: Team, alice: User) -> None:
    target = first(team)
    target.base.model_id = "tiny"
    target.base.save()
    with pytest.raises(ApiError, match="is a base model"):
        services.deploy(team, alice, "tiny", target)
