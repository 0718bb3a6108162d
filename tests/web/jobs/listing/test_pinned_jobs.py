"""Pinned jobs and the baseline: at the top of the list, and offered for every chart."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from tests.web.comparison import finished_job
from tests.web.jobs.listing.test_list import names
from tests.web.jobs.monitor.test_charts import again, measure
from webapp.jobs.listing import pinned_jobs
from webapp.jobs.models import Job, Pin
from webapp.teams.models import AuditEvent, Team, User

SignIn = Callable[[User], Client]


@pytest.fixture
def jobs(team: Team, alice: User) -> list[Job]:
    first = finished_job(team, alice, "First")
    return [first, *(again(first, f"Job {number}") for number in range(1, 9))]


def press(client: Client, job: Job, how: str) -> str:
    answer = client.post(reverse("jobs:pin", args=[job.team.slug, job.uid]), {"pin": how}, follow=True)
    assert answer.status_code == 200
    return str(answer.text)


def test_pinned_jobs_head_the_list_and_one_is_the_baseline(
    team: Team, alice: User, jobs: list[Job], as_user: SignIn
) -> None:
    client = as_user(alice)
    assert "the team&#x27;s baseline now" in press(client, jobs[0], "baseline")
    press(client, jobs[1], "pinned")
    assert names(client, team)[:3] == ["First", "Job 1", "Job 8"]
    press(client, jobs[2], "baseline")
    assert names(client, team)[:3] == ["Job 2", "Job 1", "First"]
    assert list(Job.objects.filter(pin=Pin.BASELINE)) == [jobs[2]], "the one before is only pinned"
    press(client, jobs[2], "")
    assert names(client, team)[:3] == ["Job 1", "First", "Job 8"]
    assert names(client, team, sort="newest")[0] == "Job 8"
    verbs = list(AuditEvent.objects.order_by("pk").values_list("verb", flat=True))[-4:]
    assert verbs == ["made the baseline", "pinned job", "made the baseline", "unpinned job"]


def test_the_number_of_pins_is_limited(team: Team, alice: User, jobs: list[Job], as_user: SignIn) -> None:
    client = as_user(alice)
    for job in jobs[: pinned_jobs.MAX_PINS]:
        press(client, job, "pinned")
    assert "7 jobs are pinned already" in press(client, jobs[-1], "pinned")
    assert pinned_jobs.list_pinned(team).count() == pinned_jobs.MAX_PINS
    assert "baseline now" in press(client, jobs[0], "baseline"), "a pinned one takes no more room"


def test_the_url_of_charts_names_each_pinned_job(
    team: Team, alice: User, jobs: list[Job], as_user: SignIn
) -> None:
    client = as_user(alice)
    measure(jobs[8], 2, reward=float)
    press(client, jobs[0], "baseline")
    press(client, jobs[1], "pinned")
    answer = client.get(jobs[8].get_absolute_url(), {"with": "pinned", "smooth": "0.5"})
    assert answer.url == (f"{jobs[8].get_absolute_url()}?with={jobs[0].uid}&with={jobs[1].uid}&smooth=0.5")
    sources = client.get(answer.url).context["sources"]
    assert '"name": "First"' in sources
    assert sources.count('"baseline": true') == 1
    compared = client.get(
        reverse("experiments:compare", args=[team.slug]), {"job": [jobs[1].uid, jobs[0].uid]}
    )
    assert compared.context["baseline"] == jobs[0], "not simply the first"


def test_a_pinned_job_is_on_its_own_charts_once(
    team: Team, alice: User, jobs: list[Job], as_user: SignIn
) -> None:
    client = as_user(alice)
    press(client, jobs[0], "pinned")
    press(client, jobs[1], "pinned")
    page = client.get(jobs[0].get_absolute_url(), {"with": "pinned"}, follow=True)
    assert [each["name"] for each in json.loads(page.context["sources"])] == ["First", "Job 1"]


def test_each_team_has_its_own_baseline(
    team: Team, alice: User, charlie: User, jobs: list[Job], as_user: SignIn
) -> None:
    press(as_user(alice), jobs[0], "baseline")
    own = finished_job(charlie.teams.get(), charlie, "Theirs")
    press(as_user(charlie), own, "baseline")
    assert {job.name for job in Job.objects.filter(pin=Pin.BASELINE)} == {"First", "Theirs"}
