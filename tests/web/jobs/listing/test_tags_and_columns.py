"""Tags, notes, columns, actions on several jobs, deletion and restoring."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.web.comparison import body, finished_job, tuned_model
from webapp.core.deletion import RemovalRefused
from webapp.jobs import job_events
from webapp.jobs.listing import bulk_actions, filters, removal, tags
from webapp.jobs.listing.pinned_jobs import pin_job
from webapp.jobs.models import Job, JobEvent, Metric, Pin, Rollout
from webapp.jobs.states import State
from webapp.teams.models import AuditEvent, Team, User

SignIn = Callable[[User], Client]


@pytest.fixture
def jobs(team: Team, alice: User) -> list[Job]:
    """Three finished jobs, the newest first."""
    return [finished_job(team, alice, name) for name in ("First", "Second", "Third")][::-1]


def address(team: Team, name: str, *arguments: Any) -> str:
    return reverse(f"jobs:{name}", args=[team.slug, *arguments])


# --- tags and notes ---------------------------------------------------------------------------------


def test_tags_and_notes_are_kept_escaped_and_found(
    team: Team, jobs: list[Job], alice: User, bob: User, as_user: SignIn
) -> None:
    job = jobs[0]
    sent = {"tags": " sweep,  long   run ,sweep,", "notes": "Try <b>beta</b> 0.1\nnext"}
    as_user(alice).post(address(team, "annotate", job.uid), sent)
    job.refresh_from_db()
    assert (job.tags, job.notes) == (["sweep", "long run"], "Try <b>beta</b> 0.1\nnext")
    client = as_user(bob)
    page = client.get(job.get_absolute_url()).text
    assert "Try &lt;b&gt;beta&lt;/b&gt; 0.1" in page
    assert "Edit tags and notes" not in page
    for query in ({"tag": "long run"}, {"q": "beta"}, {"q": "sweep"}):
        assert [each.name for each in client.get(address(team, "list"), query).context["jobs"]] == ["Third"]
    assert tags.list_tags(team) == ["long run", "sweep"]
    assert client.post(address(team, "annotate", job.uid), sent).status_code == 403


@pytest.mark.parametrize(
    ("tags", "notes", "said"),
    [
        ("x" * 31, "", "more than 30 characters"),
        (",".join(map(str, range(13))), "", "at most 12 tags"),
        ("", "x" * 5001, "at most 5,000 characters"),
    ],
)
def test_too_many_tags_or_long_notes_are_refused(
    team: Team, jobs: list[Job], alice: User, as_user: SignIn, tags: str, notes: str, said: str
) -> None:
    url = address(team, "annotate", jobs[0].uid)
    assert said in as_user(alice).post(url, {"tags": tags, "notes": notes}, follow=True).text
    jobs[0].refresh_from_db()
    assert (jobs[0].tags, jobs[0].notes) == ([], "")


# --- several at once --------------------------------------------------------------------------------


def test_several_jobs_are_tagged_after_a_confirmation(
    team: Team, jobs: list[Job], alice: User, bob: User, as_user: SignIn
) -> None:
    client, chosen = as_user(alice), [job.uid for job in jobs[:2]]
    page = client.get(address(team, "bulk"), {"do": "tag", "job": chosen})
    assert [job.name for job, _ in page.context["allowed"]] == ["Third", "Second"]
    sent = {"do": "tag", "job": chosen, "add": "sweep, keep", "remove": "other"}
    assert "Tagged 2 jobs." in client.post(address(team, "bulk"), sent, follow=True).text
    assert list(Job.objects.order_by("-pk").values_list("tags", flat=True)) == [["sweep", "keep"]] * 2 + [[]]
    wrong = client.post(address(team, "bulk"), sent | {"add": "x" * 31})
    assert (wrong.status_code, "more than 30 characters" in wrong.text) == (422, True)
    assert as_user(bob).get(address(team, "bulk"), {"do": "tag", "job": chosen}).status_code == 403


def test_cancelling_several_jobs_skips_ended_ones(
    team: Team, jobs: list[Job], alice: User, as_user: SignIn
) -> None:
    Job.objects.filter(pk=jobs[0].pk).update(state=State.QUEUED)
    client, chosen = as_user(alice), [job.uid for job in jobs]
    page = client.get(address(team, "bulk"), {"do": "cancel", "job": chosen})
    assert "It has ended already (succeeded)" in page.text
    assert page.context["possible"] == 1
    answer = client.post(address(team, "bulk"), {"do": "cancel", "job": chosen}, follow=True)
    assert "Cancelled 1 job." in answer.text
    assert [Job.objects.get(pk=job.pk).state for job in jobs] == ["cancelled", "succeeded", "succeeded"]


def test_pinning_several_jobs_stops_at_the_limit_with_a_message(team: Team, alice: User) -> None:
    many = [finished_job(team, alice, f"Job {number}") for number in range(8)]
    done, refused = bulk_actions.apply_action("pin", many, alice)
    assert (len(done), len(refused)) == (7, 1)
    assert "pinned already" in refused[0]
    assert len(bulk_actions.apply_action("unpin", many[:2], alice)[0]) == 2


def test_an_empty_selection_and_jobs_of_others_change_nothing(
    team: Team, jobs: list[Job], alice: User, charlie: User, as_user: SignIn
) -> None:
    assert "Select one or more jobs" in as_user(alice).get(address(team, "bulk"), follow=True).text
    own = charlie.teams.get()
    answer = as_user(charlie).post(address(own, "bulk"), {"do": "delete", "job": jobs[0].uid}, follow=True)
    assert "Select one or more jobs" in answer.text
    as_user(charlie).post(address(own, "restore"), {"job": jobs[0].uid})
    assert not Job.objects.exclude(deleted_at=None).exists()


# --- deletion ---------------------------------------------------------------------------------------


def test_deleted_jobs_are_hidden_and_can_be_restored(
    team: Team, jobs: list[Job], alice: User, as_user: SignIn
) -> None:
    client, job = as_user(alice), jobs[0]
    pin_job(job, alice, Pin.BASELINE)
    model = tuned_model(job)
    answer = client.post(address(team, "bulk"), {"do": "delete", "job": [job.uid, jobs[1].uid]}, follow=True)
    assert "Deleted 2 jobs" in answer.text
    assert [each.name for each in answer.context["jobs"]] == ["First"]
    compare = reverse("experiments:compare", args=[team.slug])
    for url in (reverse("home:overview", args=[team.slug]), compare, address(team, "list")):
        assert "Third" not in client.get(url).text, url
    assert (
        "Third" not in client.get(reverse("home:search", args=[team.slug]), {"q": "Third"}).context["groups"]
    )
    assert client.get(model.get_absolute_url()).status_code == 200
    shown = client.get(job.get_absolute_url())
    assert "This job is deleted" in shown.text
    assert "Edit and relaunch" not in shown.text
    assert "Third" in client.get(address(team, "deleted")).text
    client.post(address(team, "restore"), {"job": [job.uid, jobs[1].uid]})
    assert [each.name for each in client.get(address(team, "list")).context["jobs"]] == [
        "Third",
        "Second",
        "First",
    ]
    verbs = AuditEvent.objects.filter(verb__in=["deleted job", "restored job"]).values_list("verb", flat=True)
    assert sorted(verbs) == ["deleted job"] * 2 + ["restored job"] * 2


def test_an_active_or_needed_job_cannot_be_deleted(
    team: Team, jobs: list[Job], alice: User, as_user: SignIn
) -> None:
    going, source, part = jobs
    Job.objects.filter(pk=going.pk).update(state=State.RUNNING)
    with pytest.raises(RemovalRefused, match="is running"):
        removal.delete_job(Job.objects.get(pk=going.pk), alice)
    Job.objects.filter(pk=part.pk).update(state=State.QUEUED, promoted_from=source, promoted_step=20)
    answer = as_user(alice).post(address(team, "delete", source.uid), follow=True)
    assert "“First” needs “Second” and has not ended" in answer.text
    Job.objects.filter(pk=part.pk).update(state=State.CANCELLED)
    assert "Undo" in as_user(alice).post(address(team, "delete", source.uid), follow=True).text


def test_large_rows_are_purged_a_month_after_deletion_and_results_stay(
    jobs: list[Job], alice: User, django_capture_on_commit_callbacks: Any
) -> None:
    old, young = jobs[0], jobs[1]
    for job in (old, young):
        key = default_storage.save(f"jobs/{job.uid}/c.tar", ContentFile(b"x"))
        job.checkpoints.create(step=1, attempt=1, key=key, bytes=1, sha256="0")
        Metric.objects.create(job=job, step=1, values={"reward": 0.5})
        job_events.add_event(job.pk, 1, "log", {"message": "hello"})
        Rollout.objects.create(
            job=job, step=1, index=0, group=0, row_id="r", prompt="p", completion="c", reward=0.5,
            length=1, truncated=False, adapter_step=0,
        )  # fmt: skip
        removal.delete_job(job, alice)
    key = old.checkpoints.get().key
    Job.objects.filter(pk=old.pk).update(
        deleted_at=timezone.now() - timedelta(days=removal.KEPT_DAYS, hours=1)
    )
    with django_capture_on_commit_callbacks(execute=True):
        assert removal.purge_deleted() == 1
        assert removal.purge_deleted() == 0
    assert not default_storage.exists(key)
    left = [(job.rollouts.count(), job.events.count(), job.checkpoints.count()) for job in (old, young)]
    assert left == [(0, 0, 0), (1, 1, 1)]
    assert old.metrics.exists()


# --- columns ----------------------------------------------------------------------------------------


def test_columns_are_saved_per_user(
    team: Team, jobs: list[Job], alice: User, bob: User, as_user: SignIn
) -> None:
    Job.objects.filter(pk=jobs[0].pk).update(tags=["sweep"])
    client, url = as_user(bob), address(team, "list")
    assert client.get(url).context["columns"] == list(filters.DEFAULT_COLUMNS)
    sent = {"column": ["tags", "rate", "foreign"], "query": "sort=name"}
    assert client.post(address(team, "columns"), sent).url == f"{url}?sort=name"
    page = client.get(url)
    assert page.context["columns"] == ["tags", "rate"]
    assert "Learning rate</th>" in page.text
    assert "Gain on held-out rows</th>" not in page.text
    assert as_user(alice).get(url).context["columns"] == list(filters.DEFAULT_COLUMNS)


# --- the log ----------------------------------------------------------------------------------------


def test_the_log_can_be_read_oldest_first_and_as_a_file(
    team: Team, jobs: list[Job], alice: User, as_user: SignIn
) -> None:
    job, client = jobs[0], as_user(alice)
    for number in range(205):
        job_events.add_event(
            job.pk, 1, "log", {"level": "warning" if number == 7 else "info", "message": f"n{number}"}
        )
    page = client.get(address(team, "log", job.uid), {"order": "oldest"})
    assert [line.data["message"] for line in page.context["page"]][:2] == ["n0", "n1"]
    last = JobEvent.objects.filter(job=job).latest("pk")
    found = client.get(address(team, "log", job.uid), {"order": "oldest", "line": last.pk})
    assert found.context["page"].number == 2
    answer = client.get(address(team, "log_file", job.uid))
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{job.uid}-log.txt"'
    lines = body(answer).decode().splitlines()
    assert len(lines) == 205
    assert lines[0].endswith("Z n0")
    assert lines[7].endswith("Z warning: n7")
    assert body(client.get(address(team, "log_file", job.uid), {"level": "problems"})).count(b"\n") == 1
