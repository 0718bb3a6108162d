"""With JavaScript off: what asks first can be answered, and both answers are honoured."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import Browser, expect

from tests.e2e.test_every_page import sign_in
from tests.web.comparison import finished_job
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.models import Team, User


def test_a_job_is_cancelled_without_scripts(browser: Browser, live: str, team: Team, alice: User) -> None:
    job = finished_job(team, alice, "Invoices")
    running = {"state": State.RUNNING, "attempt": 1, "lease_until": timezone.now() + timedelta(hours=1)}
    Job.objects.filter(pk=job.pk).update(**running)
    page = browser.new_context(
        base_url=live, java_script_enabled=False, reduced_motion="reduce"
    ).new_page()
    sign_in(page, live, alice)
    page.goto(job.get_absolute_url())
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
