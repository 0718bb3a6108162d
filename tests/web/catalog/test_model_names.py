"""Every model of a team is found by the name that callers put in ``model``, and none of another team."""

from __future__ import annotations

import hashlib

import pytest

from tests.web.comparison import FILES, WEIGHTS, tuned_model
from webapp.catalog.model_names import find_target
from webapp.jobs.models import Checkpoint, Job
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team, User

WEIGHTS_SHA256 = hashlib.sha256(FILES[WEIGHTS]).hexdigest()


@pytest.fixture
def checkpoint(job: Job) -> Checkpoint:
    return job.checkpoints.create(step=20, attempt=1, key="k", bytes=1, sha256="0", adapter_sha256="a" * 64)


def test_a_base_model_is_found_by_its_id(job: Job) -> None:
    target = find_target(job.team, "groove/starter")
    assert target
    assert (target.base, target.tuned_model, target.checkpoint, target.sha256) == (
        job.base_model, None, None, "",
    )  # fmt: skip


def test_the_teams_own_base_comes_before_a_shared_one_of_the_same_id(job: Job) -> None:
    own = BaseModel.objects.create(team=job.team, model_id="groove/starter", path="elsewhere")
    target = find_target(job.team, "groove/starter")
    assert target
    assert target.base == own


def test_a_tuned_model_is_found_by_its_name_with_the_hash_of_its_weights(model: TunedModel) -> None:
    target = find_target(model.team, model.name)
    assert target
    assert (target.base, target.tuned_model, target.sha256) == (model.base_model, model, WEIGHTS_SHA256)


def test_no_adapter_can_take_the_name_of_a_base_model(model: TunedModel) -> None:
    TunedModel.objects.filter(pk=model.pk).update(name="groove/starter")
    target = find_target(model.team, "groove/starter")
    assert target
    assert target.tuned_model is None


def test_a_checkpoint_has_a_name_before_its_job_has_made_a_model(job: Job, checkpoint: Checkpoint) -> None:
    name = checkpoint.model_name
    assert name == f"{job.model_name}:ckpt-step-20"
    assert name.startswith("ft:groove/starter:acme:invoices:")
    target = find_target(job.team, name)
    assert target
    assert (target.base, target.checkpoint, target.sha256) == (job.base_model, checkpoint, "a" * 64)


def test_both_names_of_a_checkpoint_lead_to_it_afterwards(job: Job, checkpoint: Checkpoint) -> None:
    before = checkpoint.model_name
    model = tuned_model(job)
    for name in (before, f"{model.name}:ckpt-step-20"):
        target = find_target(job.team, name)
        assert target, name
        assert target.checkpoint == checkpoint


@pytest.mark.parametrize("name", ["", "gpt-4", "ft:", ":ckpt-step-20", "x:ckpt-step-99999999999", "a\nb"])
def test_an_unknown_name_leads_nowhere(job: Job, checkpoint: Checkpoint, name: str) -> None:
    assert find_target(job.team, name) is None


def test_a_renamed_job_keeps_the_name_of_its_model(job: Job) -> None:
    before = job.model_name
    job.name = "Receipts"
    job.save()
    assert job.model_name == before


def test_what_was_deleted_is_not_found(model: TunedModel, checkpoint: Checkpoint, job: Job) -> None:
    model.mark_deleted()
    assert find_target(model.team, model.name) is None
    name = checkpoint.model_name
    job.mark_deleted()
    assert find_target(job.team, name) is None


def test_another_teams_models_are_not_found(model: TunedModel, checkpoint: Checkpoint, charlie: User) -> None:
    stranger: Team = charlie.teams.get()
    for name in (model.name, checkpoint.model_name):
        assert find_target(stranger, name) is None
    own = BaseModel.objects.create(team=model.team, model_id="acme/secret", path="x")
    assert find_target(stranger, own.model_id) is None
