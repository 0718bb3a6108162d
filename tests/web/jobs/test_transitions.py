"""States of jobs: which may follow which, what an end leaves behind, names and the queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db.models import Q
from django.test import Client
from django.utils import timezone

from tests.web.comparison import finished_job
from tests.web.jobs.monitor.test_charts import again
from webapp.jobs import services
from webapp.jobs.errors import ActionRefused
from webapp.jobs.live import notifications
from webapp.jobs.models import Job, JobNotice
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.teams.models import AuditEvent, Membership, Team, User

SignIn = Callable[[User], Client]
ENDED = {State.SUCCEEDED, State.FAILED, State.CANCELLED}
# Of docs/design.md, section 4, in plain words.
ALLOWED = {
    (State.VALIDATING_FILES, State.QUEUED), (State.QUEUED, State.RUNNING), (State.RUNNING, State.PAUSED),
    (State.RUNNING, State.SUCCEEDED), (State.RUNNING, State.QUEUED), (State.PAUSED, State.QUEUED),
} | {(old, new) for old in set(State) - ENDED for new in (State.FAILED, State.CANCELLED)}  # fmt: skip


def test_a_job_changes_state_only_as_documented(job: Job) -> None:
    for old in State:
        for new in State:
            Job.objects.filter(pk=job.pk).update(state=old, stop_requested="pause", finished_at=None)
            before = job.events.count()
            assert change_state(job.pk, new) == ((old, new) in ALLOWED), (old, new)
            job.refresh_from_db()
            if (old, new) not in ALLOWED:
                assert (job.state, job.events.count()) == (old, before), "nothing is left of a refused change"
                continue
            assert job.events.last().data["state"] == new
            assert bool(job.finished_at) == (new in ENDED)
            assert (job.stop_requested == "") == (new != State.RUNNING), "a request ends with its run"


def test_a_guard_that_no_longer_holds_changes_nothing(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, attempt=2)
    assert not change_state(job.pk, State.SUCCEEDED, guard=Q(attempt=1))
    assert change_state(job.pk, State.SUCCEEDED, guard=Q(attempt=2))


def test_the_queue_is_in_order_of_arrival_across_teams(job: Job) -> None:
    now = timezone.now()
    waiting = [again(job, f"Job {number}") for number in range(3)]
    for number, each in enumerate(waiting):
        Job.objects.filter(pk=each.pk).update(state=State.QUEUED, queued_at=now - timedelta(minutes=number))
        each.refresh_from_db()
    assert [services.queue_position(each) for each in waiting] == [3, 2, 1]
    services.request_cancel(waiting[2], None)
    assert [services.queue_position(each) for each in waiting[:2]] == [2, 1]
    assert services.queue_position(job) is None


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "following"),
    [
        ("Invoices", "Invoices 2"),
        ("Invoices 2", "Invoices 3"),
        ("Invoices 09", "Invoices 10"),
        ("7", "7 2"),
        ("Two\nlines", "Two\nlines 2"),
        ("Two\nlines 4", "Two\nlines 5"),
        ("x" * 120, "x" * 110 + " 2"),
        ("Rechnung ②", "Rechnung ② 2"),
    ],
)
def test_a_clone_is_offered_the_next_name(job: Job, name: str, following: str) -> None:
    job.name = name
    assert services.next_name(job) == following


def test_names_that_are_taken_are_skipped_but_only_in_the_own_team(
    job: Job, charlie: User, alice: User
) -> None:
    again(job, "Invoices 2")
    again(job, "Invoices 3")
    theirs = finished_job(Team.objects.get(memberships__user=charlie), charlie, "Invoices 4")
    assert services.next_name(job) == "Invoices 4"
    assert services.next_name(theirs) == "Invoices 5"


def test_a_job_named_on_two_lines_can_be_cloned(job: Job, alice: User, as_user: SignIn) -> None:
    services.rename(job, alice, "Two\nlines")
    page = as_user(alice).get(f"/t/{job.team.slug}/jobs/new/", {"from": job.uid})
    assert page.status_code == 200
    assert page.context["form"]["name"].value() == "Two\nlines 2"


@pytest.mark.parametrize(
    ("name", "stored"), [("  Two words ", "Two words"), ("a\0b", "a␀b"), ("x" * 120, "x" * 120)]
)
def test_a_job_is_renamed_without_what_cannot_be_stored(
    job: Job, alice: User, name: str, stored: str
) -> None:
    services.rename(job, alice, name)
    job.refresh_from_db()
    assert job.name == stored
    assert AuditEvent.objects.first().target == f"Invoices to {stored}"


@pytest.mark.parametrize("name", ["", "   ", "x" * 121])
def test_a_name_of_no_use_is_refused_and_nothing_recorded(job: Job, alice: User, name: str) -> None:
    with pytest.raises(ActionRefused, match="1 to 120 characters"):
        services.rename(job, alice, name)
    assert not AuditEvent.objects.filter(verb="renamed job").exists()


# --- notices of an end -----------------------------------------------------------------------------


@pytest.fixture
def ended(job: Job, alice: User, erin: User) -> Job:
    """A job of Erin, who wants both kinds of notices, that has just failed."""
    User.objects.filter(pk=erin.pk).update(mail_on_end=True, notify_on_end=True)
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, created_by=erin)
    change_state(job.pk, State.FAILED, error={"message": "No memory.", "remedy": "Take a smaller step."})
    return job


def test_who_left_the_team_hears_no_more_of_its_jobs(ended: Job, erin: User, as_user: SignIn) -> None:
    assert as_user(erin).get("/account/ended/", {"after": "0"}).json()["ended"]
    Membership.objects.filter(user=erin, team=ended.team).delete()
    assert as_user(erin).get("/account/ended/", {"after": "0"}).json()["ended"] == []
    notifications.send_mail()
    assert mail.outbox == []
    assert JobNotice.objects.get().mail_at is None, "it is not tried again"


def test_the_mail_says_what_happened_and_what_to_do(ended: Job, erin: User, settings: Any) -> None:
    settings.SITE_URL = "https://groove.example"
    Job.objects.filter(pk=ended.pk).update(name="Two\nlines")
    notifications.send_mail()
    notifications.send_mail()
    [message] = mail.outbox
    assert (message.to, message.subject) == ([erin.email], "Two lines: failed")
    assert "No memory." in message.body
    assert "Take a smaller step." in message.body
    assert f"https://groove.example{ended.get_absolute_url()}" in message.body


def test_an_end_is_told_once_however_often_it_is_recorded(ended: Job) -> None:
    notifications.create_notice(ended.pk, State.FAILED)
    assert JobNotice.objects.count() == 1
