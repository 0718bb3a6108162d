"""Without JavaScript: from sign-up to a confirmation dialog, with both of its answers."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from tests.e2e.graders.test_graders import sign_up
from tests.web.comparison import finished_job
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.models import User


def running_job() -> Job:
    dana = User.objects.get()
    job = finished_job(dana.teams.get(), dana, "Invoices")
    running = {"state": State.RUNNING, "attempt": 1, "lease_until": timezone.now() + timedelta(hours=1)}
    Job.objects.filter(pk=job.pk).update(**running)
    return job


def find_by_menu(page: Page, job: Job) -> None:
    """Open the job through the menu, which is a popover on a phone."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("navigation", name="Team").get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name=job.name).click()


def test_a_job_is_cancelled_without_scripts(browser: Browser, site: str) -> None:
    context = browser.new_context(base_url=site, java_script_enabled=False, reduced_motion="reduce")
    page = context.new_page()
    sign_up(page)
    job = running_job()
    find_by_menu(page, job)
    question = page.get_by_role("dialog", name="Cancel this job?")
    asks = page.get_by_role("button", name="Cancel job")
    asks.press("Enter")
    expect(question.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_be_hidden()
    expect(asks).to_be_focused()
    asks.click()
    question.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text("Cancelled").first).to_be_visible()
    job.refresh_from_db()
    assert job.state == State.CANCELLED
