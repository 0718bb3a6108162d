"""Models: lineage, results, downloads that match their hashes, and the bases to start from."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Callable

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.web.comparison import (
    FILES,
    WEIGHTS,
    address,
    body,
    compare,
    finished_job,
    row,
    sample,
    tuned_model,
)
from webapp.jobs.models import Job
from webapp.registry import packages
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import AuditEvent, Team, User

SignIn = Callable[[User], Client]


def bases(team: Team) -> str:
    return reverse("registry:bases", args=[team.slug])


def test_the_list_shows_what_was_measured(model: TunedModel, bob: User, as_user: SignIn) -> None:
    compare(model.job, [row("a", [sample(0.5, "x")], [sample(0.9, "y")])])
    page = as_user(bob).get(reverse("catalog:list", args=[model.team.slug])).text
    assert model.name in page
    assert "0.900" in page
    assert "+0.400" in page
    assert "[+0.350, +0.450]" in page


def test_the_list_asks_as_often_for_many_models_as_for_one(
    model: TunedModel, alice: User, bob: User, as_user: SignIn
) -> None:
    client, url = as_user(bob), reverse("catalog:list", args=[model.team.slug])
    rows = [row("a", [sample(0.5, "x")], [sample(0.9, "y")])]
    compare(model.job, rows)
    with CaptureQueriesContext(connection) as one:
        client.get(url)
    for number in range(3):
        compare(tuned_model(finished_job(model.team, alice), f"ft:{number}").job, rows)
    with CaptureQueriesContext(connection) as many:
        assert "ft:2" in client.get(url).text
    assert len(many) == len(one) <= 10


def test_a_model_names_everything_that_made_it(model: TunedModel, bob: User, as_user: SignIn) -> None:
    job = model.job
    page = as_user(bob).get(model.get_absolute_url()).text
    for made_of in (
        *(job.dataset_version.sha256, str(job.dataset_version), job.dataset_version.get_absolute_url()),
        *(job.grader_version.sha256, str(job.grader_version), job.get_absolute_url(), "groove/starter"),
        *(file["sha256"] for file in model.files),
        reverse("jobs:config", args=[job.team.slug, job.uid]),
    ):
        assert made_of in page


def test_a_model_names_the_jobs_and_models_that_came_from_it(
    model: TunedModel, bob: User, alice: User, as_user: SignIn
) -> None:
    onward = finished_job(model.team, alice, "Goes on")
    child = tuned_model(onward, "ft:child")
    Job.objects.filter(pk=onward.pk).update(initial_adapter=model)
    page = as_user(bob).get(model.get_absolute_url()).text
    assert "Continued by" in page
    assert onward.get_absolute_url() in page
    assert child.get_absolute_url() in page
    assert model.get_absolute_url() in as_user(bob).get(child.get_absolute_url()).text


@pytest.mark.parametrize("name", FILES)
def test_a_file_arrives_as_it_was_stored(model: TunedModel, alice: User, as_user: SignIn, name: str) -> None:
    answer = as_user(alice).get(address(model, "download", name))
    content = body(answer)
    assert content == FILES[name]
    assert int(answer["Content-Length"]) == len(content)
    assert answer["Content-Disposition"] == f'attachment; filename="{name}"'
    assert hashlib.sha256(content).hexdigest() in as_user(alice).get(model.get_absolute_url()).text


def test_the_archive_holds_every_file_in_one_folder(model: TunedModel, alice: User, as_user: SignIn) -> None:
    answer = as_user(alice).get(address(model, "archive"))
    content = body(answer)
    assert int(answer["Content-Length"]) == len(content)
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    found = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    folder = packages.folder_name(model)
    assert found == {f"{folder}/{file['name']}": file["sha256"] for file in model.files}
    assert folder == "ft-groove-starter-acme-invoices-Ab3dE6gh"


def test_only_listed_files_leave(model: TunedModel, alice: User, as_user: SignIn) -> None:
    """Neither other keys of storage nor files of the machine."""
    client = as_user(alice)
    for name in ("run.json", "../adapter-1/README.md", "../../../../etc/passwd", "/etc/passwd", "README.md/"):
        url = address(model, "download", "x").removesuffix("x") + name
        assert client.get(url).status_code == 404, name


def test_viewers_read_but_do_not_download(model: TunedModel, bob: User, as_user: SignIn) -> None:
    client = as_user(bob)
    page = client.get(model.get_absolute_url()).text
    assert "Ask an owner for the editor role" in page
    assert address(model, "archive") not in page
    for url in (address(model, "download", WEIGHTS), address(model, "archive")):
        assert client.get(url).status_code == 403
    assert client.post(address(model, "delete")).status_code == 403
    assert not AuditEvent.objects.filter(verb__startswith="downloaded").exists()


def test_strangers_see_no_model(model: TunedModel, charlie: User, as_user: SignIn) -> None:
    client = as_user(charlie)
    own = charlie.teams.get().slug
    for url in (model.get_absolute_url(), address(model, "download", WEIGHTS), address(model, "archive")):
        assert client.get(url).status_code == 404
        assert client.get(url.replace(f"/t/{model.team.slug}/", f"/t/{own}/")).status_code == 404


def test_downloads_are_recorded(model: TunedModel, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    client.get(address(model, "download", WEIGHTS))
    client.get(address(model, "archive"))
    events = AuditEvent.objects.filter(verb__startswith="downloaded", user=alice).order_by("id")
    assert list(events.values_list("verb", "target")) == [
        ("downloaded file", f"{WEIGHTS} of {model.name}"),
        ("downloaded adapter", model.name),
    ]


def test_commands_name_base_and_adapter(model: TunedModel) -> None:
    """The starter by its folder, a hub model by id and revision; vLLM's rank is one it takes."""
    folder = packages.folder_name(model)
    compile(packages.peft_code(model), "peft.py", "exec")
    assert 'from_pretrained("workers/starter/model")' in packages.peft_code(model)
    assert packages.vllm_command(model) == (
        "vllm serve workers/starter/model --enable-lora --max-lora-rank 16 "
        f"--lora-modules {folder}=./{folder}"
    )
    model.base_model = BaseModel(model_id="org/base", revision="v1")
    settings = model.job.settings
    model.job.settings = settings.model_copy(update={"lora": settings.lora.model_copy(update={"rank": 20})})
    assert 'from_pretrained("org/base", revision="v1")' in packages.peft_code(model)
    assert packages.vllm_command(model).startswith(
        "vllm serve org/base --revision v1 --enable-lora --max-lora-rank 32 "
    )


def test_an_editor_adds_a_base_model(team: Team, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    page = client.post(bases(team), {"model_id": "Qwen/Qwen3-0.6B", "revision": "main"}, follow=True).text
    assert "Qwen/Qwen3-0.6B" in page
    folder = f"{settings.VAR_DIR}/models/in-house"
    client.post(bases(team), {"model_id": "in-house", "path": folder})
    found = set(BaseModel.objects.filter(team=team).values_list("model_id", "revision", "path"))
    assert found == {("Qwen/Qwen3-0.6B", "main", ""), ("in-house", "", folder)}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "This field is required"),
        ({"model_id": "qwen"}, "Write organisation/name, as on the hub"),
        ({"model_id": "https://huggingface.co/a/b"}, "This is not a Hugging Face id"),
        ({"model_id": "../secret", "path": f"{tempfile.gettempdir()}/a"}, "This is not a Hugging Face id"),
        ({"model_id": "mine", "path": "models/mine"}, "begins with /"),
        ({"model_id": "mine", "path": "/models/../etc"}, "has no .. in it"),
        ({"model_id": "mine", "path": "/etc/mine"}, "Models must be below"),
        ({"model_id": "a/b", "revision": "main; rm"}, "A revision is a branch, tag or commit"),
        ({"model_id": "a/there"}, "already has this model"),
    ],
)
def test_a_base_model_that_cannot_be_is_explained(
    team: Team, alice: User, as_user: SignIn, data: dict[str, str], said: str
) -> None:
    BaseModel.objects.create(team=team, model_id="a/there")
    answer = as_user(alice).post(bases(team), data)
    assert answer.status_code == 422
    assert said in answer.text
    assert BaseModel.objects.filter(team=team).count() == 1


def test_base_models_of_other_teams_stay_theirs(
    team: Team, bob: User, charlie: User, as_user: SignIn
) -> None:
    BaseModel.objects.create(team=charlie.teams.get(), model_id="elsewhere/secret")
    BaseModel.objects.create(team=None, model_id="groove/starter", path="workers/starter/model")
    page = as_user(bob).get(bases(team)).text
    assert "elsewhere/secret" not in page
    assert "groove/starter" in page
    assert "Add a base model" not in page
    assert as_user(bob).post(bases(team), {"model_id": "a/b"}).status_code == 403
