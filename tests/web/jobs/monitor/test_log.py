"""The log of a job: filters, links to lines, live updates and a text file."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.monitor import log_views
from webapp.jobs.states import State
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return launch(
        JobRequest(
            team=team,
            user=alice,
            name="Invoices",
            settings={},
            base_model=ensure_starter_model(),
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
        )
    )


def say(job: Job, message: str, level: str = "info") -> JobEvent:
    return JobEvent.objects.create(job=job, attempt=1, kind="log", data={"message": message, "level": level})


def lines(client: Client, job: Job, **query: str | int) -> list[str]:
    page = client.get(f"{job.get_absolute_url()}log/", query).context["page"]
    return [line.data.get("message", "") for line in page]


def test_lines_are_found_by_text_and_by_level(job: Job, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    say(job, "Loaded 100% of the rows")
    say(job, "Slow disk", "warning")
    say(job, "Disk full", "error")
    assert lines(client, job, q="DISK") == ["Disk full", "Slow disk"]
    assert lines(client, job, q="100%") == ["Loaded 100% of the rows"]
    assert lines(client, job, level="problems") == ["Disk full", "Slow disk"]
    assert lines(client, job, level="errors", q="disk") == ["Disk full"]
    nothing = client.get(f"{job.get_absolute_url()}log/", {"q": "no such words"})
    assert "No lines match" in nothing.content.decode()


def test_a_link_to_a_line_finds_its_page_after_newer_lines(
    job: Job, alice: User, as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_views, "PAGE_LINES", 3)
    chosen = say(job, "The one")
    for number in range(8):
        say(job, f"later {number}")
    answer = as_user(alice).get(f"{job.get_absolute_url()}log/", {"line": chosen.pk})
    assert chosen in answer.context["page"].object_list
    assert f'id="line-{chosen.pk}"' in answer.content.decode()
    assert len(lines(as_user(alice), job, line="9" * 40)) == 3
    assert "later 7" in lines(as_user(alice), job, line=chosen.pk, page=1)


def test_a_live_log_follows_until_it_is_paused(job: Job, alice: User, as_user: SignIn) -> None:
    client, url = as_user(alice), f"{job.get_absolute_url()}log/"
    assert client.get(url).context["following"]
    assert not client.get(url, {"follow": "off"}).context["following"]
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    assert "data-live-url" not in client.get(url).text


def test_a_refresh_returns_only_the_lines(job: Job, alice: User, as_user: SignIn) -> None:
    say(job, "Hello")
    headers = {"HX-Request": "true", "HX-Target": "log-lines"}
    part = as_user(alice).get(f"{job.get_absolute_url()}log/", headers=headers).content.decode()
    assert "Hello" in part
    assert "<html" not in part


def test_a_stranger_reads_no_log(job: Job, charlie: User, as_user: SignIn) -> None:
    assert as_user(charlie).get(f"{job.get_absolute_url()}log/").status_code == 404
