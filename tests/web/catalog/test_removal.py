"""Models are found in their list, deleted, restored, and deleted for good."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from tests.web.comparison import FILES, WEIGHTS, address, body, finished_job, tuned_model
from webapp.catalog import removal
from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.launch.request import JobRequest, TaskChoice
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry.models import Export, TunedModel
from webapp.teams.models import AuditEvent, Team, User

SignIn = Callable[[User], Client]


def models(team: Team, name: str = "list", query: str = "") -> str:
    return reverse(f"catalog:{name}", args=[team.slug]) + query


def test_a_deletion_is_undone(model: TunedModel, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    page = client.post(address(model, "delete"), follow=True).text
    assert "You can restore it later." in page
    assert address(model, "restore") in page
    assert model.get_absolute_url() not in client.get(models(model.team)).text
    assert model.get_absolute_url() in client.get(models(model.team, "deleted")).text
    assert model.uid not in client.get(reverse("jobs:new", args=[model.team.slug])).text
    for url in (address(model, "archive"), address(model, "download", WEIGHTS)):
        assert client.get(url).status_code == 404
    assert "This model is deleted" in client.get(model.get_absolute_url()).text

    client.post(address(model, "restore"))
    assert model.get_absolute_url() not in client.get(models(model.team, "deleted")).text
    assert body(client.get(address(model, "download", WEIGHTS))) == FILES[WEIGHTS]
    verbs = AuditEvent.objects.filter(target=model.name, verb__endswith="ed model").order_by("id")
    assert list(verbs.values_list("verb", flat=True)) == ["deleted model", "restored model"]


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.PAUSED])
def test_a_model_that_a_job_trains_from_stays(
    model: TunedModel, alice: User, as_user: SignIn, state: State
) -> None:
    other = finished_job(model.team, alice, "Goes on")
    Job.objects.filter(pk=other.pk).update(initial_adapter=model, state=state)
    page = as_user(alice).post(address(model, "delete"), follow=True).text
    assert "“Goes on” trains from this model. Wait until it ends or cancel it" in page
    Job.objects.filter(pk=other.pk).update(state=State.CANCELLED)
    as_user(alice).post(address(model, "delete"))
    model.refresh_from_db()
    assert model.deleted_at


def test_no_job_starts_from_a_deleted_model(model: TunedModel, alice: User) -> None:
    """Not even one whose form was open before the deletion."""
    job = model.job
    removal.delete_model(TunedModel.objects.get(pk=model.pk), alice)
    with pytest.raises(SettingsInvalid) as refused:
        launch(
            JobRequest(
                team=model.team,
                user=alice,
                name="Late",
                base_model=job.base_model,
                initial_adapter=model,
                settings={},
                tasks=[TaskChoice("", job.dataset_version, job.grader_version)],
            )
        )
    assert "was deleted. Restore it" in refused.value.errors["initial_adapter"]


def test_an_owner_deletes_for_good(model: TunedModel, alice: User, as_user: SignIn) -> None:
    """The files and exports go once the id is typed; the page stays, for the lineage of others."""
    client, purge = as_user(alice), address(model, "purge")
    exported = default_storage.save("exports/x/model.gguf", ContentFile(b"gguf"))
    files = [{"name": "model.gguf", "bytes": 4, "sha256": "0"}]
    model.exports.create(kind="gguf", state=Export.State.FINISHED, prefix="exports/x", files=files)
    keys = [exported, *(f"{model.prefix}/{name}" for name in FILES)]
    assert "Delete the model first" in client.post(purge, {"confirmed": model.uid}).text
    client.post(address(model, "delete"))

    answer = client.post(purge, {"confirmed": model.name})
    assert answer.status_code == 422
    assert "Nothing was removed." in answer.text
    assert all(default_storage.exists(key) for key in keys)

    gone = client.post(purge, {"confirmed": model.uid}, follow=True).text
    assert model.get_absolute_url() not in gone
    assert not any(default_storage.exists(key) for key in keys)
    page = client.get(model.get_absolute_url()).text
    assert "This model was deleted for good" in page
    assert "Use it" not in page
    assert WEIGHTS not in page
    assert address(model, "restore") not in page
    assert "its files are gone" in client.post(address(model, "restore"), follow=True).text
    assert AuditEvent.objects.filter(verb="deleted model for good", user=alice).exists()


def test_files_that_another_model_has_too_stay(model: TunedModel, alice: User) -> None:
    same = {"base_model": model.base_model, "prefix": model.prefix, "files": model.files}
    TunedModel.objects.create(team=model.team, name="twin", **same)
    removal.delete_model(model, alice)
    removal.purge_model(model, alice)
    assert all(default_storage.exists(f"{model.prefix}/{name}") for name in FILES)


def test_an_export_in_the_making_is_waited_for(model: TunedModel, alice: User, as_user: SignIn) -> None:
    model.exports.create(kind="gguf", state=Export.State.RUNNING)
    removal.delete_model(model, alice)
    answer = as_user(alice).post(address(model, "purge"), {"confirmed": model.uid})
    assert answer.status_code == 422
    assert "Wait until it is done." in answer.text
    assert all(default_storage.exists(f"{model.prefix}/{name}") for name in FILES)


def test_the_list_is_found_and_sorted_by_its_address(model: TunedModel, alice: User, as_user: SignIn) -> None:
    client, team = as_user(alice), model.team
    tuned_model(finished_job(team, alice, "Contracts"), "ft:zeta")
    brought = TunedModel.objects.create(
        team=team, base_model=model.base_model, name="brought", prefix="b", files=[{}], uploaded=True
    )

    def shown(query: str) -> list[str]:
        return [each.name for each in client.get(models(team, query=query)).context["models"]]

    assert shown("") == ["brought", "ft:zeta", model.name]
    assert shown("?sort=oldest") == [model.name, "ft:zeta", "brought"]
    assert shown("?q=contracts") == ["ft:zeta"]
    assert shown(f"?q={brought.uid}") == ["brought"]
    assert shown("?origin=upload") == ["brought"]
    assert shown(f"?origin=job&base={model.base_model.uid}&sort=name") == [model.name, "ft:zeta"]
    assert "No model matches" in client.get(models(team, query="?q=nothing")).text


def test_a_new_job_lists_the_newest_models_and_takes_any(
    model: TunedModel, alice: User, as_user: SignIn
) -> None:
    """The page does not grow with the team's models; one that is older comes by its own page's link."""
    team, base = model.team, model.base_model
    TunedModel.objects.bulk_create(
        TunedModel(team=team, base_model=base, name=f"ft:{number}", prefix="p", files=[{}])
        for number in range(60)
    )
    url = reverse("jobs:new", args=[team.slug])
    start = as_user(alice).get(url).context["form"]["initial_adapter"]
    assert len(start.field.choices) == 51
    assert "press Continue training" in start.help_text
    chosen = as_user(alice).get(f"{url}?base={base.uid}&start={model.uid}").context["form"]
    assert f'<option value="{model.uid}" selected>' in str(chosen["initial_adapter"])
    assert chosen.fields["initial_adapter"].clean(model.uid) == model


def test_a_clone_says_that_its_start_was_deleted(model: TunedModel, alice: User, as_user: SignIn) -> None:
    other = finished_job(model.team, alice, "Goes on")
    Job.objects.filter(pk=other.pk).update(initial_adapter=model)
    removal.delete_model(model, alice)
    page = as_user(alice).get(reverse("jobs:new", args=[model.team.slug]) + f"?from={other.uid}").text
    assert "where the other job started, was deleted; restore it to start there." in page
