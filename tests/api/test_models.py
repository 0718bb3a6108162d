"""Models by API: bases, tuned models and checkpoints under their names."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.conftest import Call
from tests.web.comparison import finished_job, side_summary, tuned_model
from webapp.jobs.models import Checkpoint, Job
from webapp.jobs.states import State
from webapp.registry.models import TunedModel
from webapp.teams.models import AuditEvent, Team, User


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    return finished_job(team, alice)


@pytest.fixture
def model(job: Job) -> TunedModel:
    return tuned_model(job)


@pytest.fixture
def checkpoint(job: Job) -> Checkpoint:
    side = side_summary(0.75)
    job.evaluations.create(
        stage="during", split="validation", step=20, rows=1, samples_per_row=1, base=side, tuned=side
    )
    job.metrics.create(step=20, values={"reward": 0.5})
    return job.checkpoints.create(step=20, attempt=1, key="k", bytes=1, sha256="0")


def test_bases_and_tuned_models_are_listed(call: Call, model: TunedModel) -> None:
    listed = call("GET", "/models").json()
    assert listed["object"] == "list"
    assert [(each["id"], each["owned_by"]) for each in listed["data"]] == [
        (model.name, "acme"), ("groove/starter", "groove"),
    ]  # fmt: skip


@pytest.mark.parametrize("encode", [str, lambda name: quote(name, safe=":")])
def test_a_name_with_slashes_is_found_raw_and_encoded(
    call: Call, model: TunedModel, checkpoint: Checkpoint, encode: Any
) -> None:
    for name in ("groove/starter", model.name, checkpoint.model_name):
        shown = call("GET", f"/models/{encode(name)}").json()
        assert (shown["id"], shown["object"]) == (name, "model"), shown


def test_an_unknown_name_and_another_teams_are_not_found(
    call: Call, stranger_call: Call, model: TunedModel
) -> None:
    for caller, name in ((call, "gpt-4"), (stranger_call, model.name)):
        response = caller("GET", f"/models/{name}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
        assert caller("DELETE", f"/models/{name}").status_code == 404


def test_a_base_model_is_never_deleted(call: Call, model: TunedModel) -> None:
    assert call("DELETE", "/models/groove/starter").status_code == 403
    assert call("GET", "/models/groove/starter").status_code == 200


def test_a_tuned_model_is_deleted_and_can_be_restored(call: Call, model: TunedModel) -> None:
    assert call("DELETE", f"/models/{model.name}").json() == {
        "id": model.name, "object": "model", "deleted": True,
    }  # fmt: skip
    assert call("GET", f"/models/{model.name}").status_code == 404
    model.refresh_from_db()
    assert model.mark_restored()


def test_a_viewer_deletes_nothing(viewer_call: Call, model: TunedModel) -> None:
    assert viewer_call("DELETE", f"/models/{model.name}").status_code == 403


def test_checkpoints_are_listed_with_their_metrics(call: Call, job: Job, checkpoint: Checkpoint) -> None:
    listed = call("GET", f"/fine_tuning/jobs/{job.uid}/checkpoints").json()["data"]
    assert listed == [
        {
            "object": "fine_tuning.job.checkpoint",
            "id": checkpoint.uid,
            "created_at": int(checkpoint.created_at.timestamp()),
            "fine_tuned_model_checkpoint": f"{job.model_name}:ckpt-step-20",
            "fine_tuning_job_id": job.uid,
            "step_number": 20,
            "metrics": {
                "step": 20.0,
                "train_reward_mean": 0.5,
                "train_mean_reward": 0.5,
                "valid_reward_mean": 0.75,
                "full_valid_mean_reward": 0.75,
            },
        }
    ]


def test_a_checkpoint_is_deleted_unless_its_job_resumes_from_it(
    call: Call, job: Job, checkpoint: Checkpoint
) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.PAUSED)
    assert call("DELETE", f"/models/{checkpoint.model_name}").status_code == 400
    Job.objects.filter(pk=job.pk).update(state=State.CANCELLED)
    call("POST", "/deployments", {"name": "invoices", "model": checkpoint.model_name})
    assert (
        "answers as “invoices”"
        in call("DELETE", f"/models/{checkpoint.model_name}").json()["error"]["message"]
    )
    call("POST", "/deployments/invoices/promote", {"model": job.base_model.model_id})
    assert call("DELETE", f"/models/{checkpoint.model_name}").json()["deleted"]
    assert not job.checkpoints.exists()
    assert AuditEvent.objects.filter(verb="deleted checkpoint").exists()
