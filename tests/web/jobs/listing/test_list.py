"""The list of jobs: filters, orders and pages by the query string."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from tests.web.comparison import side_summary
from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch
from webapp.jobs.listing import filters
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.teams.services import create_team

SignIn = Callable[[User], Client]


@pytest.fixture
def jobs(team: Team, alice: User) -> list[Job]:
    dataset, grader = create_sample_project(team, alice)
    return [
        launch(
            JobRequest(
                team=team,
                user=alice,
                name=name,
                settings={},
                base_model=ensure_starter_model(),
                tasks=single_task(dataset.versions.get(), grader.versions.get()),
            )
        )
        for name in ("Beta", "Alpha", "Gamma")
    ]


def names(client: Client, team: Team, **query: str | int) -> list[str]:
    return [job.name for job in client.get(f"/t/{team.slug}/jobs/", query).context["jobs"]]


def test_jobs_are_found_by_text_state_and_model_and_sorted(
    team: Team, alice: User, jobs: list[Job], as_user: SignIn
) -> None:
    client = as_user(alice)
    Job.objects.filter(pk=jobs[1].pk).update(state=State.FAILED)
    assert names(client, team) == ["Gamma", "Alpha", "Beta"]
    assert names(client, team, sort="name") == ["Alpha", "Beta", "Gamma"]
    assert names(client, team, q="ALP") == ["Alpha"]
    assert names(client, team, q=jobs[0].uid) == ["Beta"]
    assert names(client, team, state="failed") == ["Alpha"]
    assert names(client, team, model=jobs[0].base_model.uid, q="gam") == ["Gamma"]
    assert names(client, team, model="base_unknown") == []
    assert "No jobs match" in client.get(f"/t/{team.slug}/jobs/", {"q": "zzz"}).content.decode()


def test_the_next_page_keeps_the_filters(
    team: Team, alice: User, jobs: list[Job], as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "PAGE_SIZE", 2)
    client = as_user(alice)
    assert "sort=name&amp;page=2" in client.get(f"/t/{team.slug}/jobs/", {"sort": "name"}).content.decode()
    assert names(client, team, sort="name", page=2) == ["Gamma"]


def test_another_teams_jobs_are_not_listed(
    team: Team, alice: User, charlie: User, jobs: list[Job], as_user: SignIn
) -> None:
    other = create_team(charlie, "Others")
    assert names(as_user(charlie), other) == []


def test_jobs_can_be_filtered_by_person_and_sorted_by_gain(
    team: Team, alice: User, bob: User, jobs: list[Job], as_user: SignIn
) -> None:
    client = as_user(alice)
    Job.objects.filter(pk=jobs[0].pk).update(created_by=bob)
    assert names(client, team, by=bob.email) == ["Beta"]
    side = side_summary(0.5)
    for job, gain in zip(jobs[:2], (0.1, 0.3), strict=True):
        job.evaluations.create(
            stage="after", split="test", step=1, rows=1, samples_per_row=1, base=side, tuned=side,
            difference={"mean": gain, "low": gain, "high": gain},
        )  # fmt: skip
    assert names(client, team, sort="gain") == ["Alpha", "Beta", "Gamma"], "without a result: last"


def test_the_list_updates_itself_while_jobs_run(
    team: Team, alice: User, jobs: list[Job], as_user: SignIn
) -> None:
    client, page = as_user(alice), f"/t/{team.slug}/jobs/?sort=name"
    assert f'hx-get="{page}"' in client.get(page).text
    part = client.get(page, headers={"HX-Request": "true", "HX-Target": "job-table"}).text
    assert part.strip().startswith('<div id="job-table"')
    Job.objects.update(state=State.SUCCEEDED)
    assert 'hx-trigger="every' not in client.get(page).text


def test_a_job_is_renamed_by_an_editor(
    team: Team, alice: User, bob: User, jobs: list[Job], as_user: SignIn
) -> None:
    address = reverse("jobs:rename", args=[team.slug, jobs[0].uid])
    as_user(alice).post(address, {"name": "  Delta "})
    assert as_user(alice).post(address, {"name": " "}, follow=True).text.count("has 1 to 120 characters") == 1
    assert as_user(bob).post(address, {"name": "mine"}).status_code == 403
    assert "Delta" in names(as_user(alice), team)
