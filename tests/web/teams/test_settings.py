"""A team's settings, its record and what it keeps."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.web.comparison import body, finished_job
from webapp.jobs.launch import placement
from webapp.jobs.models import Job
from webapp.jobs.queue import claim_job
from webapp.jobs.rollouts import search
from webapp.jobs.states import State
from webapp.teams.models import AuditEvent, Membership, Team, User
from webapp.teams.services import create_team, record_event
from webapp.work import nodes
from webapp.work.models import Node
from workers.contract.devices import NodeDevices
from workers.tasks import tidy

SignIn = Callable[[User], Client]


def build_url(name: str, team: Team) -> str:
    return reverse(name, args=[team.slug])


def queued(job: Job, name: str) -> Job:
    """A job like ``job`` that waits for a worker."""
    resources = {"gpus": 0, "gpu_memory_gib": 0, "cpu_cores": 1}
    return Job.objects.create(
        team=job.team, name=name, base_model=job.base_model, dataset_version=job.dataset_version,
        grader_version=job.grader_version, settings={"resources": resources}, state=State.QUEUED,
        queued_at=timezone.now(),
    )  # fmt: skip


# --- settings --------------------------------------------------------------------------------------


def test_an_owner_sets_what_is_kept_and_only_the_staff_sets_the_limit(
    team: Team, alice: User, as_user: SignIn
) -> None:
    values = {"name": "Acme Two", "rollouts_kept_days": "30", "max_running_jobs": "9"}
    as_user(alice).post(build_url("home:settings", team), values)
    team.refresh_from_db()
    assert (team.name, team.rollouts_kept_days, team.max_running_jobs) == ("Acme Two", 30, None)
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    as_user(alice).post(build_url("home:settings", team), values)
    team.refresh_from_db()
    assert team.max_running_jobs == 9
    assert list(team.audit_events.values_list("verb", "target")[:2]) == [
        ("set max running jobs", "9"),
        ("set rollouts kept days", "30"),
    ]
    assert (
        as_user(alice)
        .post(build_url("home:settings", team), values | {"rollouts_kept_days": "0"})
        .status_code
        == 422
    )


def test_rollouts_are_kept_as_long_as_the_team_says(job: Job) -> None:
    recent = finished_job(job.team, job.created_by, "Recent")
    for each in (job, recent):
        each.rollouts.create(
            step=1, index=0, group=0, row_id="r", prompt="p", completion="c", length=1, truncated=False,
            adapter_step=0,
        )  # fmt: skip
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - timedelta(days=31))
    Job.objects.filter(pk=recent.pk).update(finished_at=timezone.now() - timedelta(days=29))
    assert search.delete_expired() == 0
    Team.objects.filter(pk=job.team_id).update(rollouts_kept_days=30)
    assert search.delete_expired() == 1
    assert not job.rollouts.exists()
    assert recent.rollouts.exists()


def test_an_owner_is_asked_before_rollouts_go(job: Job, alice: User, as_user: SignIn) -> None:
    job.rollouts.create(
        step=1, index=0, group=0, row_id="r", prompt="p", completion="c", length=1, truncated=False,
        adapter_step=0,
    )  # fmt: skip
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - timedelta(days=31))
    client, url = as_user(alice), build_url("home:settings", job.team)
    values = {"name": "Acme", "rollouts_kept_days": "30"}
    asked = client.post(url, values)
    assert "Delete the rollouts of about 1 job?" in asked.text
    assert '<input type="hidden" name="rollouts_kept_days" value="30">' in asked.text
    job.team.refresh_from_db()
    assert job.team.rollouts_kept_days is None
    assert client.post(url, values | {"rollouts_kept_days": "60"}).status_code == 302
    assert client.post(url, values | {"sure": "1"}).status_code == 302
    job.team.refresh_from_db()
    assert job.team.rollouts_kept_days == 30


def test_settings_say_how_much_of_the_limit_is_used(job: Job, alice: User, as_user: SignIn) -> None:
    Team.objects.filter(pk=job.team_id).update(max_running_jobs=4)
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING)
    assert "Now 1 running of 4." in as_user(alice).get(build_url("home:settings", job.team)).text


def test_a_team_at_its_limit_waits_and_another_goes_ahead(job: Job, charlie: User) -> None:
    nodes.register_node("node", {}, NodeDevices(cpu_cores=8), {})
    Team.objects.filter(pk=job.team_id).update(max_running_jobs=1)
    first, second = queued(job, "first"), queued(job, "second")
    other = finished_job(create_team(charlie, "Other"), charlie)
    third = queued(other, "third")
    assert claim_job("node") == first
    assert claim_job("node") == third
    assert claim_job("node") is None
    second.refresh_from_db()
    assert placement.explain_waiting(second, 1) == "The team runs 1 job at once, which is its limit."


# --- record ----------------------------------------------------------------------------------------


def test_the_record_is_cut_to_a_person_or_words_and_leaves_as_csv(
    team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    record_event(team, bob, "downloaded adapter", "=HYPERLINK(1)")
    client = as_user(alice)
    shown = client.get(build_url("teams:audit", team), {"who": bob.email}).context["page"]
    assert [event.verb for event in shown] == ["downloaded adapter"]
    assert (
        not client.get(build_url("teams:audit", team), {"text": "no such words"}).context["page"].object_list
    )
    answer = client.get(build_url("teams:audit_csv", team), {"text": "download"})
    header, *lines = csv.reader(io.StringIO(body(answer).decode(), newline=""))
    assert header == ["when", "who", "did", "to"]
    assert [line[1:] for line in lines] == [[bob.email, "downloaded adapter", "'=HYPERLINK(1)"]]
    assert as_user(bob).get(build_url("teams:audit_csv", team)).status_code == 403


def test_the_record_names_people_who_have_left_and_is_cut_to_days(
    team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    record_event(team, bob, "downloaded adapter", "long ago")
    AuditEvent.objects.filter(user=bob).update(created_at="2026-03-01T12:00:00Z")
    Membership.objects.filter(user=bob).delete()
    client = as_user(alice)

    def found(**query: str) -> list[str]:
        return [event.verb for event in client.get(build_url("teams:audit", team), query).context["page"]]

    assert bob in client.get(build_url("teams:audit", team)).context["people"]
    assert found(who=bob.email) == ["downloaded adapter"]
    assert found(since="2026-03-01", until="2026-03-01") == ["downloaded adapter"]
    assert found(until="2026-02-28") == []
    assert found(since="2026-02-31", until="nonsense") == found()
    lines = (
        body(client.get(build_url("teams:audit_csv", team), {"until": "2026-03-01"})).decode().splitlines()
    )
    assert len(lines) == 2


# --- workers ---------------------------------------------------------------------------------------


def test_workers_show_their_room_and_the_queue_hides_other_teams(
    job: Job, charlie: User, bob: User, as_user: SignIn
) -> None:
    nodes.register_node("node", {}, NodeDevices(cpu_cores=8), {"available": True, "layers": []})
    gpu = {"index": 0, "name": "A100", "memory_gib": 80.0, "memory_used_gib": 31.5, "busy_percent": 97}
    room = {"disk_free_gib": 1.5, "disk_gib": 100.0, "memory_free_gib": 2.0, "memory_gib": 8.0}
    nodes.record_health("node", room | {"cpu_busy_percent": 12.6, "gpus": [gpu]})
    queued(job, "ours")
    queued(finished_job(create_team(charlie, "Other"), charlie), "theirs, secret")
    shown = as_user(bob).get(reverse("jobs:workers", args=[job.team.slug])).text
    assert "1.5 of 100.0 GiB free: free some space" in shown
    assert "97 % busy, 31.5 of 80.0 GiB in use" in shown
    assert "13 % busy, 6.0 of 8.0 GiB in use" in shown
    assert "ours</a>" in shown
    assert "A job of another team" in shown
    assert "secret" not in shown
    assert Node.objects.get().health["memory_gib"] == 8.0


def test_a_node_that_left_is_forgotten_after_a_month(job: Job, bob: User, as_user: SignIn) -> None:
    for name, days in (("gone", 31), ("silent", 3)):
        node = nodes.register_node(name, {}, NodeDevices(cpu_cores=8), {"available": True, "layers": []})
        Node.objects.filter(pk=node.pk).update(seen_at=timezone.now() - timedelta(days=days))
    tidy()
    assert [node.name for node in Node.objects.all()] == ["silent"]
    shown = as_user(bob).get(reverse("jobs:workers", args=[job.team.slug])).text
    assert "Its jobs continue on other workers" in shown
    assert "Idle." not in shown
