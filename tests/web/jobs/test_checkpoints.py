"""Checkpoints: list with rewards, download, promotion; and finishing a job early."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.test import Client

from tests.web.adapters import CONFIG, weights
from tests.web.comparison import body, side_summary, tuned_model
from webapp.catalog import lineage
from webapp.experiments.control_runs import _settings_without_preflight, list_control_runs
from webapp.jobs import checkpoints, recording, services
from webapp.jobs.errors import WrongState
from webapp.jobs.models import Checkpoint, Job, JobSuite, Metric
from webapp.jobs.promotion import promote_checkpoint
from webapp.jobs.queue import JOBS, requested_stop
from webapp.jobs.states import State
from webapp.teams.models import AuditEvent, User

SignIn = Callable[[User], Client]
WEIGHTS = weights()


def stored(job: Job, step: int, config: dict[str, Any] | None = None) -> Checkpoint:
    """Store a checkpoint with an archive as the engine and the worker write it."""
    files = {
        "adapter_config.json": json.dumps(CONFIG | {"base_model_name_or_path": "/srv/worker/base"}).encode(),
        "adapter_model.safetensors": WEIGHTS,
        "tokenizer.json": b"{}",
        "tekken.json": b"{}",
        "qwen.tiktoken": b"IQ== 0",
        "optimizer.pt": b"moments",
        "trainer_state.json": b"{}",
        "training_args.bin": b"pickled",
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["manifest.json"] = json.dumps({"step": step, "files": hashes}).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    key = default_storage.save(f"jobs/{job.uid}/checkpoints/{step}.tar", ContentFile(archive.getvalue()))
    sha256 = hashlib.sha256(archive.getvalue()).hexdigest()
    return job.checkpoints.create(step=step, attempt=1, key=key, bytes=len(archive.getvalue()), sha256=sha256)


def validated(job: Job, step: int, reward: float) -> None:
    side = side_summary(reward, reward, reward)
    job.evaluations.create(
        stage="during", split="validation", step=step, rows=4, samples_per_row=2, base=side, tuned=side
    )


# --- the list ---------------------------------------------------------------------------------------


def test_checkpoints_are_listed_with_the_rewards_at_their_step(job: Job, bob: User, as_user: SignIn) -> None:
    Metric.objects.filter(job=job).delete()
    for step, reward in ((10, 0.25), (20, 0.5)):
        stored(job, step)
        Metric.objects.create(job=job, step=step, values={"reward": reward})
    validated(job, 10, 0.75)
    validated(job, 20, 0.625)
    newest, older = checkpoints.list_checkpoints(job, job.evaluations.all())
    assert (newest.checkpoint.step, newest.reward, newest.validation, newest.best) == (20, 0.5, 0.625, False)
    assert (older.checkpoint.step, older.reward, older.validation, older.best) == (10, 0.25, 0.75, True)
    page = as_user(bob).get(job.get_absolute_url()).text
    section = page[page.index('id="checkpoints-title"') :]
    assert "0.750" in section
    assert "best" in section
    assert "Promote to model" not in page  # bob only reads


def test_the_newest_and_the_three_best_on_validation_rows_are_kept(
    job: Job, django_capture_on_commit_callbacks: Any
) -> None:
    kept = [stored(job, step) for step in (10, 20, 30, 40, 50)]
    for step, reward in ((10, 0.3), (20, 0.9), (30, 0.1), (40, 0.5)):
        validated(job, step, reward)
    with django_capture_on_commit_callbacks(execute=True):
        checkpoints.discard_old(job)
    assert [each.step for each in job.checkpoints.all()] == [50, 40, 20, 10]
    assert not default_storage.exists(kept[2].key)
    assert default_storage.exists(kept[0].key)


def test_without_validation_the_newest_four_are_kept(job: Job) -> None:
    for step in (10, 20, 30, 40, 50):
        stored(job, step)
    checkpoints.discard_old(job)
    assert [each.step for each in job.checkpoints.all()] == [50, 40, 30, 20]


# --- download ---------------------------------------------------------------------------------------


def test_the_download_is_a_peft_folder_that_names_the_base_and_no_path(
    job: Job, alice: User, as_user: SignIn
) -> None:
    stored(job, 20)
    answer = as_user(alice).get(f"{job.get_absolute_url()}checkpoints/20/")
    content = body(answer)
    assert int(answer.headers["Content-Length"]) == len(content)
    archive, folder = zipfile.ZipFile(io.BytesIO(content)), f"{job.uid}-step-20"
    files = {name.removeprefix(f"{folder}/"): archive.read(name) for name in archive.namelist()}
    assert files.keys() == {
        "adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tekken.json", "qwen.tiktoken",
        "README.md", "SHA256SUMS",
    }  # fmt: skip
    assert files["adapter_model.safetensors"] == WEIGHTS
    config = json.loads(files["adapter_config.json"])
    assert config["base_model_name_or_path"] == job.base_model.model_id
    assert config["r"] == CONFIG["r"]
    assert "/srv" not in files["adapter_config.json"].decode()
    for line in files["SHA256SUMS"].decode().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256(files[name]).hexdigest() == sha256
    assert AuditEvent.objects.filter(user=alice, verb="downloaded checkpoint").exists()


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_checkpoint_is_reported(job: Job, alice: User, as_user: SignIn, content: bytes) -> None:
    kept = stored(job, 20)
    default_storage.delete(kept.key)
    if content:
        default_storage.save(kept.key, ContentFile(content))
    answer = as_user(alice).get(f"{job.get_absolute_url()}checkpoints/20/", follow=True)
    assert "missing or damaged" in answer.text


# --- promotion --------------------------------------------------------------------------------------


def test_a_promotion_is_a_job_with_the_same_settings_and_the_checkpoint(
    job: Job, alice: User, as_user: SignIn
) -> None:
    stored(job, 20)
    JobSuite.objects.create(job=job, position=0, name="Digits", built_in="ticket", max_loss=0.05)
    client = as_user(alice)
    answer = client.post(f"{job.get_absolute_url()}checkpoints/20/promote/", follow=True)
    made = job.promotions.get()
    assert answer.redirect_chain[-1][0] == made.get_absolute_url()
    assert "This job makes a model of the checkpoint of step 20" in answer.text
    same = ("base_model", "dataset_version", "grader_version", "settings", "total_steps", "method")
    assert [getattr(made, name) for name in same] == [getattr(job, name) for name in same]
    assert (made.state, made.step, made.promoted_step) == (State.VALIDATING_FILES, 20, 20)
    assert [(each.step, each.key) for each in made.checkpoints.all()] == [(20, job.checkpoints.get().key)]
    assert made.suites.get().max_loss == 0.05
    assert client.post(f"{job.get_absolute_url()}checkpoints/20/promote/").url == made.get_absolute_url()
    assert job.promotions.count() == 1
    assert not list(list_control_runs(job))
    model = tuned_model(made, "ft:promoted")
    drawn = [placed.node.label for placed in lineage.build_lineage(model).drawing.placed]
    assert [job.name, "step 20 of 60", made.name] == [each for each in drawn if each in
        (job.name, "step 20 of 60", made.name)]  # fmt: skip


def test_a_promotion_keeps_the_archive_that_its_source_deletes(
    job: Job, alice: User, django_capture_on_commit_callbacks: Any
) -> None:
    kept = stored(job, 20)
    made = promote_checkpoint(kept, alice)
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        checkpoints.delete_checkpoints(job.checkpoints.all())
    assert default_storage.exists(kept.key)
    with pytest.raises(WrongState, match="deleted"):
        promote_checkpoint(kept, alice)
    with pytest.raises(WrongState, match="itself promotes"):
        promote_checkpoint(made.checkpoints.get(), alice)
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        checkpoints.delete_checkpoints(made.checkpoints.all())
    assert not default_storage.exists(kept.key)


# --- finish early -----------------------------------------------------------------------------------


def running(job: Job, **values: Any) -> Job:
    changes = {"state": State.RUNNING, "phase": "train", "step": 7, "attempt": 2, "tuned_model": None}
    Job.objects.filter(pk=job.pk).update(**changes | values)
    job.refresh_from_db()
    return job


def test_finishing_early_applies_to_later_attempts(job: Job, alice: User, as_user: SignIn) -> None:
    running(job)
    client = as_user(alice)
    assert "Finish training early?" in client.get(job.get_absolute_url()).text
    client.post(f"{job.get_absolute_url()}finish/")
    assert requested_stop(job) == "finish"
    assert "Finishing early…" in client.get(job.get_absolute_url()).text
    JOBS.crash(job, "killed")
    job.refresh_from_db()
    assert (job.state, job.finish_early) == (State.QUEUED, True)
    before = Job.objects.get(pk=job.pk)
    running(job, attempt=3)
    assert (requested_stop(job), requested_stop(before)) == ("finish", None)
    services.request_pause(job, alice)
    assert requested_stop(job) == "pause"
    with pytest.raises(WrongState, match="already"):
        services.request_finish(job, alice)
    assert AuditEvent.objects.filter(user=alice, verb="finished job early").count() == 1


def test_a_paused_job_is_queued_to_finish(job: Job, alice: User) -> None:
    running(job, state=State.PAUSED)
    services.request_finish(job, alice)
    job.refresh_from_db()
    assert (job.state, job.finish_early) == (State.QUEUED, True)


@pytest.mark.parametrize(
    "values",
    [
        {"state": State.SUCCEEDED},
        {"state": State.QUEUED},
        {"state": State.PAUSED, "step": 0},
        {"phase": "evaluate"},
        {"phase": "package"},
        {"promoted_step": 7},
    ],
)
def test_only_a_job_that_trains_is_finished_early(job: Job, alice: User, values: dict[str, Any]) -> None:
    running(job, **values)
    with pytest.raises(WrongState):
        services.request_finish(job, alice)
    job.refresh_from_db()
    assert not job.finish_early


def test_a_job_that_finished_early_shows_its_trained_steps(job: Job, alice: User, as_user: SignIn) -> None:
    Job.objects.filter(pk=job.pk).update(step=7, total_steps=60, finish_early=True)
    job.refresh_from_db()
    assert "7 of 60 planned steps were trained" in as_user(alice).get(job.get_absolute_url()).text
    assert _settings_without_preflight(job).grpo.max_steps == 7  # a control run trains as long


def test_viewers_neither_finish_nor_promote_nor_download(job: Job, bob: User, as_user: SignIn) -> None:
    running(job)
    stored(job, 5)
    client = as_user(bob)
    assert client.post(f"{job.get_absolute_url()}finish/").status_code == 403
    assert client.post(f"{job.get_absolute_url()}checkpoints/5/promote/").status_code == 403
    assert client.get(f"{job.get_absolute_url()}checkpoints/5/").status_code == 403


def test_a_new_attempt_deletes_later_checkpoints_but_no_shared_archives(
    job: Job, alice: User, django_capture_on_commit_callbacks: Any
) -> None:
    running(job, attempt=2, step=30)
    shared, own = stored(job, 20), stored(job, 30)
    promote_checkpoint(shared, alice)
    with django_capture_on_commit_callbacks(execute=True):
        assert recording.begin_attempt(job.pk, 2, 10)
    assert not job.checkpoints.exists()
    assert (default_storage.exists(shared.key), default_storage.exists(own.key)) == (True, False)
