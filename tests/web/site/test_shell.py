"""The shell around every page: sidebar, palette, account page, notices of ended jobs, styleguide."""

from __future__ import annotations

import re
from collections.abc import Callable
from smtplib import SMTPServerDisconnected

import pytest
from django.core import mail
from django.db import transaction
from django.test import Client
from django.utils import timezone

from tests.web.comparison import finished_job
from webapp.home.sample_project import create_sample_project
from webapp.jobs.live import notifications
from webapp.jobs.models import Job, JobNotice
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.teams.models import Membership, Team, User

SignIn = Callable[[User], Client]


def ask(user: User, **settings: bool) -> None:
    User.objects.filter(pk=user.pk).update(**settings)


def launched(team: Team, user: User, name: str) -> Job:
    job = finished_job(team, user, name)
    job.created_by = user
    job.save()
    return job


def end(job: Job, state: State = State.SUCCEEDED) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING)
    with transaction.atomic():
        assert change_state(job.pk, state)


def found(client: Client, team: Team, text: str) -> str:
    return client.get(f"/t/{team.slug}/search/", {"q": text}, headers={"hx-request": "true"}).content.decode()


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("", "Home"),
        ("datasets/", "Datasets"),
        ("graders/", "Graders"),
        ("judges/", "Judges"),
        ("jobs/", "Jobs"),
        ("jobs/workers/", "Workers"),
        ("usage/", "Usage"),
        ("models/", "Models"),
        ("models/bases/", "Models"),
        ("members/", "Settings"),
        ("settings/", "Settings"),
        ("audit/", "Settings"),
    ],
)
def test_the_sidebar_marks_the_section_of_the_page(
    team: Team, alice: User, as_user: SignIn, path: str, section: str
) -> None:
    page = as_user(alice).get(f"/t/{team.slug}/{path}").text
    links = re.findall(r'<a class="side-link"([^>]*)>\s*<svg.*?</svg>([^<]*)</a>', page, re.DOTALL)
    assert [label.strip() for attributes, label in links if "aria-current" in attributes] == [section]


def test_the_palette_finds_objects_of_this_team_only(
    team: Team, alice: User, charlie: User, as_user: SignIn
) -> None:
    mine = finished_job(team, alice, "Invoices, second try")
    theirs = finished_job(charlie.teams.get(), charlie, "Invoices of others")
    text = found(as_user(alice), team, "invoices")
    assert mine.get_absolute_url() in text
    assert theirs.name not in text
    assert as_user(charlie).get(f"/t/{team.slug}/search/?q=invoices").status_code == 404


def test_the_palette_offers_what_the_role_allows(team: Team, alice: User, bob: User, as_user: SignIn) -> None:
    assert "Launch a job" in found(as_user(alice), team, "launch")
    assert "Audit trail" in found(as_user(alice), team, "audit")
    assert "Launch a job" not in found(as_user(bob), team, "launch")
    assert "Audit trail" not in found(as_user(bob), team, "audit")
    assert "Workers" in found(as_user(bob), team, "gpus")


def test_search_is_a_page_without_scripts(team: Team, alice: User, as_user: SignIn) -> None:
    page = as_user(alice).get(f"/t/{team.slug}/search/?q=<b>nothing").content.decode()
    assert "&lt;b&gt;nothing" in page
    assert "<b>nothing" not in page


def test_a_user_who_enabled_mail_gets_one(team: Team, alice: User) -> None:
    job = launched(team, alice, "Invoices\nsecond try")
    ask(alice, mail_on_end=True)
    end(job)
    notifications.send_mail()
    notifications.send_mail()
    assert [letter.subject for letter in mail.outbox] == ["Invoices second try: succeeded"]
    assert mail.outbox[0].to == [alice.email]
    assert job.get_absolute_url() in mail.outbox[0].body


def test_nobody_else_gets_a_mail(team: Team, alice: User, bob: User) -> None:
    ask(bob, mail_on_end=True)
    end(launched(team, alice, "Not Bob's"))
    left = launched(team, bob, "Bob has left")
    Membership.objects.filter(user=bob).delete()
    end(left, State.FAILED)
    notifications.send_mail()
    assert mail.outbox == []


def test_an_unreachable_mail_server_fails_no_job_and_loses_no_mail(
    team: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(alice, mail_on_end=True)
    job = launched(team, alice, "Invoices")
    end(job)

    def refuse(letter: object) -> None:
        raise SMTPServerDisconnected("please run connect() first")

    with monkeypatch.context() as away:
        away.setattr("django.core.mail.EmailMessage.send", refuse)
        notifications.send_mail()
    job.refresh_from_db()
    notice = JobNotice.objects.get(job=job)
    assert job.state == State.SUCCEEDED
    assert notice.mail_at is not None
    assert notice.mail_at > timezone.now()
    JobNotice.objects.update(mail_at=timezone.now())
    notifications.send_mail()
    assert len(mail.outbox) == 1


def test_open_pages_announce_jobs_that_ended(team: Team, alice: User, bob: User, as_user: SignIn) -> None:
    ask(alice, notify_on_end=True)
    client = as_user(alice)
    last = client.get("/account/ended/").json()["last"]
    end(launched(team, alice, "Invoices"), State.FAILED)
    news = client.get("/account/ended/", {"after": last}).json()
    assert [(each["title"], each["failed"]) for each in news["ended"]] == [("Invoices: failed", True)]
    assert client.get("/account/ended/", {"after": news["last"]}).json()["ended"] == []
    assert as_user(bob).get("/account/ended/", {"after": 0}).json()["ended"] == []
    assert mail.outbox == []


def test_notifications_are_set_on_the_account_page(alice: User, team: Team, as_user: SignIn) -> None:
    client = as_user(alice)
    assert "data-single-keys" not in client.get(team.get_absolute_url()).content.decode()
    client.post("/account/", {"mail_on_end": "on"})
    alice.refresh_from_db()
    assert (alice.mail_on_end, alice.notify_on_end, alice.single_keys) == (True, False, False)
    assert 'data-single-keys="off"' in client.get(team.get_absolute_url()).content.decode()
    assert Client().get("/account/").status_code == 302


def test_the_styleguide_is_for_staff(alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    assert client.get("/styleguide/").status_code == 404
    assert Client().get("/styleguide/").status_code == 404
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert client.get("/styleguide/").status_code == 200


def test_the_policy_allows_nothing_inline(team: Team, alice: User, as_user: SignIn) -> None:
    _, grader = create_sample_project(team, alice)
    for address in (team.get_absolute_url(), grader.get_absolute_url()):
        policy = as_user(alice).get(address).headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
