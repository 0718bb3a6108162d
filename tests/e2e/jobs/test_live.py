"""A job's page opened in the queue stays up to date until the job's end."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import sign_in
from tests.web.comparison import finished_job
from webapp.jobs import recording, services
from webapp.jobs.models import Job
from webapp.jobs.queue import claim_job
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.teams.models import Team, User
from webapp.work import nodes
from workers.contract.devices import NodeDevices
from workers.contract.events import Event, PhaseEvent, ProgressEvent

CORES = 200  # more than the machine has


def progress(done: int, eta: float) -> ProgressEvent:
    return ProgressEvent(phase="train", done=done, total=60, eta_seconds=eta)


def test_a_page_opened_in_the_queue_follows_the_job_to_its_end(
    page: Page, site: str, team: Team, alice: User
) -> None:
    job = finished_job(team, alice)
    resources = job.settings.resources.model_copy(update={"cpu_cores": CORES})
    job.settings = job.settings.model_copy(update={"resources": resources})
    job.state, job.step, job.queued_at = State.QUEUED, 0, timezone.now()
    job.save()

    def report(*events: Event) -> None:
        assert recording.record_events(job.pk, 1, events)

    sign_in(page, site, alice)
    page.goto(job.get_absolute_url())
    head, status = page.locator("#job-head"), page.locator("[data-live-status]")
    expect(status).to_have_text("Live")
    expect(head).to_contain_text("First in the queue. No worker")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)

    nodes.register_node("big", {}, NodeDevices(cpu_cores=CORES), {})
    assert claim_job("big") == job
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() + timedelta(hours=1))
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(head).to_contain_text("on big")
    page.get_by_label("More actions").click()
    page.get_by_label("Name", exact=True).fill("Typed, not yet sent")

    report(PhaseEvent(phase="train"))
    expect(page.locator("[aria-current=step]")).to_contain_text("Train")
    report(progress(1, 590))
    expect(head).to_contain_text("about 9 min")
    report(progress(2, 3500))
    expect(head).to_contain_text("about 58 min")
    expect(status).to_have_text("Live")

    services.request_pause(job, alice)
    expect(page.get_by_role("button", name="Pausing…")).to_be_disabled()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Typed, not yet sent")
    with transaction.atomic():
        change_state(job.pk, State.PAUSED)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(head).not_to_contain_text("left")
    services.request_cancel(job, alice)
    expect(page.get_by_role("link", name="Edit and relaunch")).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_have_count(0)
    expect(status).to_have_text("")
