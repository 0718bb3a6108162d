"""The list in a browser: tags, columns, several jobs, deletion, downloads, promotion."""

from __future__ import annotations

from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import sign_in
from tests.web.comparison import finished_job, tuned_model
from tests.web.jobs.test_checkpoints import stored
from tests.web.retention.test_retention import told
from webapp.jobs.evaluations import record_retention
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.models import AuditEvent, Team, User


def test_several_jobs_are_tagged_deleted_and_restored(page: Page, site: str, team: Team, alice: User) -> None:
    first, second = (finished_job(team, alice, name) for name in ("First", "Second"))
    sign_in(page, site, alice)
    page.goto(first.get_absolute_url())
    page.get_by_text("Add tags or notes").click()
    page.get_by_label("Tags, separated by commas").fill("sweep, keep")
    page.get_by_label("Notes, plain text").fill("Beta 0.1 looked better.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Beta 0.1 looked better.").first).to_be_visible()

    page.goto(reverse("jobs:list", args=[team.slug]))
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Tags and notes").check()
    page.get_by_role("button", name="Show these columns").click()
    expect(page.get_by_role("columnheader", name="Tags and notes")).to_be_visible()
    for job in (first, second):
        page.get_by_label(f"Select {job.name}").check()
    page.get_by_role("button", name="Tag…", exact=True).click()
    page.get_by_label("Add tags, separated by commas").fill("both")
    page.get_by_role("button", name="Tag (2)").click()
    expect(page.get_by_text("Tagged 2 jobs.")).to_be_visible()

    page.get_by_label("Select Second").check()
    page.get_by_role("button", name="Delete jobs…").click()
    page.get_by_role("button", name="Delete jobs (1)").click()
    expect(page.get_by_text("Deleted 1 job")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="Second")).to_be_visible()

    page.get_by_label("More actions").click()
    page.get_by_role("button", name="Delete job").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete job").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.goto(reverse("jobs:deleted", args=[team.slug]))
    page.get_by_role("button", name="Restore Second").click()
    assert not Job.objects.exclude(deleted_at=None).exists()


def test_a_checkpoint_is_promoted_and_downloads_are_confirmed(
    page: Page, site: str, team: Team, alice: User
) -> None:
    job = finished_job(team, alice)
    model = tuned_model(job)
    stored(job, 20)
    job.suites.create(position=0, name="Tickets", built_in="ticket", max_loss=0.05)
    record_retention(job, told("Tickets", 0.5))
    sign_in(page, site, alice)
    page.goto(model.get_absolute_url())
    page.get_by_role("link", name="Download adapter…").click()
    expect(page.get_by_text("Tickets may have lost up to")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download anyway").click()
    assert download.value.suggested_filename.endswith(".zip")
    assert AuditEvent.objects.filter(user=alice, verb="downloaded held-back model").exists()

    page.goto(f"{job.get_absolute_url()}log/")
    page.get_by_label("Order").select_option("oldest")
    page.get_by_role("button", name="Apply").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as a text file").click()
    assert download.value.suggested_filename == f"{job.uid}-log.txt"

    page.goto(job.get_absolute_url())
    page.get_by_role("button", name="Promote to model").click()
    page.get_by_role("dialog").get_by_role("button", name="Promote to model").click()
    expect(page.get_by_text("This job makes a model of the checkpoint of step 20")).to_be_visible()

    Job.objects.filter(pk=job.pk).update(state=State.PAUSED, phase="train", step=20, tuned_model=None)
    page.goto(job.get_absolute_url())
    page.get_by_role("button", name="Finish early").click()
    page.get_by_role("dialog").get_by_role("button", name="Finish early").click()
    expect(page.get_by_text("Finishing: evaluation follows")).to_be_visible()
