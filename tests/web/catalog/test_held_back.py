"""Files of a model that the retention gate holds back leave only after a confirmation that is recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from webapp.jobs.launch.suites import record_retention

from tests.web.comparison import body, finished_job, tuned_model
from tests.web.jobs.test_checkpoints import stored
from tests.web.retention.test_retention import told
from webapp.jobs.models import Job
from webapp.registry.models import TunedModel
from webapp.retention.services import release_model
from webapp.teams.models import AuditEvent, Team, User

SignIn = Callable[[User], Client]
VERB = "downloaded held-back model"


@pytest.fixture
def held(team: Team, alice: User) -> TunedModel:
    """A model whose suite has lost more than it may, with an export and a checkpoint."""
    job = finished_job(team, alice)
    model = tuned_model(job)
    default_storage.save(f"exports/{model.uid}/a", ContentFile(b"a"))
    model.exports.create(
        kind="merged", state="finished", prefix=f"exports/{model.uid}",
        files=[{"name": "a", "bytes": 1, "sha256": "0"}],
    )  # fmt: skip
    job.suites.create(position=0, name="Tickets", built_in="ticket", max_loss=0.05)
    record_retention(job, told("Tickets", 0.5))
    stored(job, 60)
    return model


def downloads(model: TunedModel) -> list[str]:
    page, job = model.get_absolute_url(), Job.objects.get(tuned_model=model)
    return [
        f"{page}adapter.zip",
        f"{page}files/{model.files[0]['name']}",
        f"{page}exports/merged/export.zip",
        f"{job.get_absolute_url()}checkpoints/60/",
    ]


def test_each_download_of_a_held_back_model_asks_and_records(
    held: TunedModel, alice: User, bob: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    page = client.get(held.get_absolute_url()).text
    assert 'class="btn "' in page[: page.index("adapter.zip")]
    for number, url in enumerate(downloads(held), start=1):
        asked = client.get(url)
        assert asked.status_code == 409, url
        assert "Tickets may have lost up to" in asked.text
        assert AuditEvent.objects.filter(verb=VERB).count() == number - 1
        answer = client.post(url)
        assert answer.status_code == 200
        assert body(answer)
        kept = AuditEvent.objects.filter(verb=VERB).latest("pk")
        assert (kept.user, bool(kept.target)) == (alice, True)
        assert as_user(bob).post(url).status_code == 403


def test_a_released_model_leaves_without_a_question_but_not_its_unmeasured_checkpoints(
    held: TunedModel, alice: User, as_user: SignIn
) -> None:
    release_model(held, alice, "The suite is out of date.")
    job = Job.objects.get(tuned_model=held)
    stored(job, 40)
    client = as_user(alice)
    for url in downloads(held):
        assert client.get(url).status_code == 200, url
    asked = client.get(f"{job.get_absolute_url()}checkpoints/40/")
    assert asked.status_code == 409
    assert "No suite was measured for the gate at step 40" in asked.text
    assert not AuditEvent.objects.filter(verb=VERB).exists()
