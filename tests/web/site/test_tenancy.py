"""Every URL below ``/t/<team>/``: non-members see nothing, viewers change nothing.

A new URL fails here until its objects are created below. This is intended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from tests.web.evals.runs import finished_run
from tests.web.interactions.records import keep
from tests.web.stored import rows_of
from webapp.calibration.models import LabelTask
from webapp.catalog.model_names import ModelTarget
from webapp.datasets.models import DatasetImport
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.transfers import begin_transfer
from webapp.datasets.uploads.validation import Options
from webapp.deployments.services import deploy
from webapp.endpoints.models import Endpoint
from webapp.environments.plays.services import start_play
from webapp.environments.services import create_environment
from webapp.graders.models import Grader, GraderTest, GraderTrial, GraderVersion
from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.service import check_settings
from webapp.jobs.models import ComparedRow, Evaluation, Job, Metric, Rollout
from webapp.jobs.rollouts.saved_views import save_view
from webapp.jobs.states import State
from webapp.keys.models import Scope
from webapp.keys.services import create_key
from webapp.registry.models import BaseModel, TunedModel
from webapp.remote_imports.models import RemoteImport
from webapp.serving.models import ModelServer
from webapp.teams.models import Membership, Role, Team, User
from webapp.teams.services import create_invitation
from webapp.webhooks.deliveries import create_event
from webapp.webhooks.models import EventType, WebhookDelivery
from webapp.webhooks.services import create_endpoint
from workers.environments.examples import list_examples

SignIn = Callable[[User], Client]
Objects = dict[str, dict[str, Any]]
DATA = b"".join(b'{"messages":[{"role":"user","content":"p%d"}]}\n' % number for number in range(20))
DEFINITION = {
    "type": "string_check",
    "name": "g",
    "input": "{{sample.output_text}}",
    "reference": "x",
    "operation": "eq",
}

# Pages that only show something; a POST to them is answered like a GET.
PAGES = {
    "home:overview",
    "home:search",
    "datasets:list",
    "evals:list",
    "evals:run",
    "deployments:list",
    "deployments:detail",
    "interactions:list",
    "interactions:detail",
    "datasets:detail",
    "datasets:version",
    "datasets:row",
    "datasets:import",
    "datasets:changes",
    "graders:lint",
    "graders:list",
    "graders:version",
    "graders:trial",
    "graders:export",
    "environments:lint",
    "environments:list",
    "environments:version",
    "jobs:list",
    "jobs:detail",
    "jobs:rollouts",
    "jobs:rollout",
    "jobs:log",
    "jobs:config",
    "experiments:compare",
    "jobs:metrics",
    "jobs:stream",
    "jobs:workers",
    "evaluations:compare",
    "evaluations:csv",
    "evaluations:numbers",
    "retention:page",
    "catalog:list",
    "catalog:model",
    "catalog:card",
    "catalog:deleted",
    "registry:base",
    "serving:usage",
}
# Nobody looks at these, so there is nobody to send to the sign-in page.
NO_PAGES = {"jobs:stream", "playground:complete"}
# A viewer may arrange her own pages and keys, and ask models.
OWN_AFFAIRS = {"home:checklist", "jobs:columns", "keys:list", "playground:complete"}


@dataclass(frozen=True)
class Address:
    """A URL pattern of a team's pages."""

    name: str
    arguments: frozenset[str]

    def url(self, team: str, objects: Objects) -> str:
        namespace = self.name.partition(":")[0]
        known = objects[""] | objects[namespace] | objects.get(self.name, {})
        unknown = self.arguments - known.keys() - {"team"}
        assert not unknown, f"{self.name} takes {unknown}; make such an object in this test"
        return reverse(
            self.name, kwargs={"team": team} | {key: known[key] for key in self.arguments - {"team"}}
        )


def addresses(resolver: URLResolver | None = None, route: str = "", namespace: str = "") -> Iterator[Address]:
    resolver = resolver or get_resolver()
    for each in resolver.url_patterns:
        path = route + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from addresses(each, path, each.namespace or namespace)
        elif path.startswith("t/<slug:team>/"):
            assert isinstance(each, URLPattern)
            names = resolver.pattern.converters | each.pattern.converters
            yield Address(f"{namespace}:{each.name}", frozenset(names) | {"team"})


ADDRESSES = list(addresses())
NAMES = [address.name for address in ADDRESSES]


@pytest.fixture
def objects(team: Team, alice: User) -> Objects:
    """URL arguments by namespace, by URL name, or ('') for all."""
    trial = receive_file(team, alice, "Trial", SimpleUploadedFile("a.jsonl", DATA), Options())
    part = begin_transfer(team, alice, filename="b.jsonl", size=9, name="B", options=Options(), dataset=None)
    imported = DatasetImport.objects.create(team=team, source="https://a.example/b.csv", created_by=alice)
    version, _ = commit_upload(
        receive_file(team, alice, "D", SimpleUploadedFile("a.jsonl", DATA), Options()), alice, Choices()
    )
    row = rows_of(version.files["train"]["key"])[0]
    grader = Grader.objects.create(team=team, name="G")
    grader_version = GraderVersion.objects.create(grader=grader, number=1, definition=DEFINITION, sha256="0")
    bench = GraderTrial.objects.create(team=team, definition=DEFINITION, rows=[])
    known = GraderTest.objects.create(grader=grader, row={}, answer="a", kind="bad", limit=0.3)
    environment = create_environment(team, alice, "Numbers", list_examples()[0].source)
    played = start_play(environment.versions.get(), alice, "train", {"seed": 0})
    judge = Endpoint.objects.create(team=team, name="judge", base_url="https://judge.example/v1")
    labels = LabelTask.objects.create(
        team=team,
        grader=grader,
        rows=[{"row_id": "r", "messages": [{"role": "user", "content": "p"}], "item": {}}],
        answers=[{"row": 0, "text": "a"}],
    )
    base = BaseModel.objects.create(team=team, model_id="tiny")
    ModelServer.objects.create(base_model=base)
    model = tuned(team, base)
    job = finished_job(team, base, version, grader_version, model)
    deployment = deploy(team, alice, "invoices", ModelTarget(model.name, base, model, None, "0"))
    interaction = keep(team, user="u-1")
    membership = Membership.objects.get(team=team, user=alice)
    invitation = create_invitation(team, alice, "dora@example.com", Role.VIEWER)
    view = save_view(team, alice, "Cut", "only=truncated")
    run = finished_run(team)
    key, _ = create_key(team, alice, "script", Scope)
    hook, _ = create_endpoint(
        team, alice, name="CI", url="https://hook.example/", event_types=[EventType.JOB_FAILED]
    )
    remote = RemoteImport.objects.create(team=team, created_by=alice, base_url="https://api.example/v1")
    create_event(team.pk, EventType.JOB_FAILED, job.uid)
    return {
        "": {"number": 1, "step": 1, "index": 0},
        "teams": {"membership": membership.pk, "invitation": invitation.pk},
        "datasets": {"uid": version.dataset.uid, "since": 1},
        "datasets:row": {"uid": version.dataset.uid, "row_id": row["row_id"]},
        "datasets:upload": {"uid": trial.uid},
        **{f"datasets:{name}": {"uid": imported.uid} for name in ("import", "cancel_import")},
        "datasets:discard": {"uid": trial.uid},
        "datasets:errors": {"uid": trial.uid},
        "datasets:upload_progress": {"uid": trial.uid},
        **{
            f"datasets:{name}": {"uid": part.uid}
            for name in ("transfer", "transfer_progress", "finish", "forget")
        },
        "evals": {"uid": run.uid},
        "keys": {"uid": key.uid},
        "deployments": {"uid": deployment.uid},
        "playground": {},
        "playground:verdict": {"uid": bench.uid},
        "interactions": {"uid": interaction.uid},
        "graders": {"uid": grader.uid, "test": known.uid},
        "environments": {"uid": environment.uid},
        "environments:play": {"uid": played.uid},
        "graders:trial": {"uid": bench.uid},
        "judges": {"uid": judge.uid, "version": grader_version.uid, "grader": grader.uid},
        "judges:label": {"uid": labels.uid},
        "home": {},
        "jobs": {"uid": job.uid, "view": view.pk},
        "experiments": {"uid": job.uid},
        "evaluations": {"uid": job.uid, "row": ComparedRow.objects.get(evaluation__job=job).pk},
        "retention": {"uid": job.uid},
        "retention:release": {"uid": model.uid},
        "catalog": {"uid": model.uid, "name": "adapter_config.json", "kind": "merged"},
        "catalog:checkpoint": {"uid": job.uid, "step": 1},
        "catalog:promote": {"uid": job.uid, "step": 1},
        "registry": {"base": base.uid},
        "serving": {"base": base.uid},
        "remote_imports": {"uid": remote.uid},
        "webhooks": {"uid": hook.uid},
        "webhooks:replay": {"uid": WebhookDelivery.objects.get().uid},
    }


def tuned(team: Team, base: BaseModel) -> TunedModel:
    prefix = f"teams/{team.pk}/models/m"
    contents = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"0", "README.md": b"# Tiny"}
    for name, content in contents.items():
        default_storage.save(f"{prefix}/{name}", ContentFile(content))
    files = [{"name": name, "bytes": len(content), "sha256": "0"} for name, content in contents.items()]
    model = TunedModel.objects.create(team=team, base_model=base, name="ft:tiny", prefix=prefix, files=files)
    model.exports.create(kind="merged", state="finished", prefix=prefix, files=files)
    return model


def finished_job(team: Team, base: BaseModel, version: Any, grader: GraderVersion, model: TunedModel) -> Job:
    now = timezone.now()
    job = Job.objects.create(
        team=team, name="J", base_model=base, dataset_version=version, grader_version=grader,
        settings=check_settings({}),
        state=State.SUCCEEDED, tuned_model=model, step=1, total_steps=1,
        queued_at=now, started_at=now - timedelta(minutes=1), finished_at=now,
    )  # fmt: skip
    job.checkpoints.create(step=1, attempt=1, key="gone", bytes=1, sha256="0")
    Metric.objects.create(job=job, step=1, values={"reward": 0.5})
    Rollout.objects.create(
        job=job, step=1, index=0, group=0, row_id="r", prompt="p", completion="c", reward=0.5, advantage=0.0,
        length=1, truncated=False, adapter_step=0,
    )  # fmt: skip
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    side = {
        "reward": interval, "pass_at_1": interval, "pass_at_k": {"1": 0.5}, "mean_length": 1.0,
        "truncated_share": 0.0, "grading_error_share": 0.0,
    }  # fmt: skip
    evaluation = Evaluation.objects.create(
        job=job, stage="after", split="test", step=1, rows=1, samples_per_row=1, base=side, tuned=side,
        difference=interval, wins=1, ties=0, losses=0,
    )  # fmt: skip
    sample = {
        "completion": "c",
        "reward": 0.5,
        "sub_rewards": {},
        "error_class": None,
        "length": 1,
        "truncated": False,
    }
    evaluation.compared_rows.create(
        index=0,
        row_id="r",
        prompt="p",
        base=[sample],
        tuned=[sample],
        base_reward=0.5,
        tuned_reward=0.5,
        change=0,
    )
    return job


def everything() -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables except sessions."""
    models = [model for model in apps.get_models() if model._meta.label != "sessions.Session"]
    return {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in models}


def test_the_walk_sees_the_whole_site() -> None:
    assert {name.partition(":")[0] for name in NAMES} == {
        "teams", "home", "keys", "webhooks", "remote_imports", "datasets", "graders", "environments",
        "judges", "jobs", "experiments", "evaluations", "retention", "registry", "catalog", "deployments",
        "interactions", "serving", "playground", "evals",
    }  # fmt: skip


def test_the_objects_are_there_for_their_owner(
    team: Team, alice: User, objects: Objects, as_user: SignIn
) -> None:
    """Without this, a 404 below would prove nothing."""
    client, wrong = as_user(alice), {}
    for address in ADDRESSES:
        answer = client.get(address.url(team.slug, objects))
        if answer.status_code not in {200, 302, 400, 405, 409, 422}:
            wrong[address.name] = answer.status_code
    assert wrong == {}


def test_objects_of_another_team_give_404(
    team: Team, charlie: User, objects: Objects, as_user: SignIn
) -> None:
    """They give 404 in the URLs of their own team and of the other member's team."""
    client, own, wrong = as_user(charlie), charlie.teams.get().slug, {}
    before = everything()
    for address in ADDRESSES:
        names_objects = address.arguments > {"team"}
        for place in {team.slug, own} if names_objects else {team.slug}:
            url = address.url(place, objects)
            statuses = {client.get(url).status_code, client.post(url).status_code}
            if 404 not in statuses or statuses - {404, 405}:
                wrong[url] = statuses
    assert wrong == {}
    assert everything() == before


def test_a_stranger_is_asked_to_sign_in(team: Team, objects: Objects, client: Client) -> None:
    wrong = {}
    for address in ADDRESSES:
        url = address.url(team.slug, objects)
        answers = [answer for answer in (client.get(url), client.post(url)) if answer.status_code != 405]
        places = {answer.headers.get("Location", "").partition("?")[0] for answer in answers}
        hidden = address.name in NO_PAGES and {answer.status_code for answer in answers} == {404}
        if places != {"/accounts/login/"} and not hidden:
            wrong[address.name] = [answer.status_code for answer in answers]
    assert wrong == {}


def test_a_viewer_changes_nothing(team: Team, bob: User, objects: Objects, as_user: SignIn) -> None:
    client, wrong = as_user(bob), {}
    before = everything()
    for address in ADDRESSES:
        if address.name in OWN_AFFAIRS:
            continue
        answer = client.post(address.url(team.slug, objects))
        if answer.status_code not in {403, 405} and address.name not in PAGES:
            wrong[address.name] = answer.status_code
    assert wrong == {}
    assert everything() == before


def test_forms_take_no_objects_of_another_team(
    team: Team, charlie: User, objects: Objects, as_user: SignIn
) -> None:
    """Alice's objects appear in the query or body of a request to Charlie's team."""
    client, base = as_user(charlie), f"/t/{charlie.teams.get().slug}"
    job = Job.objects.get(team=team)
    own = create_sample_project(charlie.teams.get(), charlie)[0].versions.get()
    form = client.get(f"{base}/jobs/new/").context["form"]
    data = {field.html_name: field.value() for field in form if field.value() is not None}
    data |= {"name": "mine", "base_model": job.base_model_id, "dataset_version": job.dataset_version_id,
             "grader_version": job.grader_version_id}  # fmt: skip
    answer = client.post(f"{base}/jobs/new/", data)
    assert {"base_model", "dataset_version", "grader_version"} <= answer.context["form"].errors.keys()
    assert client.get(f"{base}/jobs/new/", {"from": job.uid}).status_code == 404
    trial = {"definition": json.dumps(DEFINITION), "count": 1, "answers": "typed", "answer": "x"}
    client.post(f"{base}/graders/try/", trial | {"version": job.dataset_version_id})
    assert not GraderTrial.objects.filter(team__in=charlie.teams.all()).exists()
    client.post(f"{base}/graders/try/", trial | {"version": own.pk})
    assert GraderTrial.objects.filter(team__in=charlie.teams.all()).exists()
    assert client.get(f"{base}/datasets/new/", {"dataset": objects["datasets"]["uid"]}).status_code == 404
