"""An open home page shows new jobs by itself and keeps the focus."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import sign_in
from tests.web.comparison import finished_job
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.models import Team, User


def test_an_open_page_shows_new_jobs_and_keeps_the_focus(
    page: Page, site: str, team: Team, alice: User
) -> None:
    job = finished_job(team, alice, "Invoices")
    sign_in(page, site, alice)
    page.clock.install()
    page.goto(team.get_absolute_url())
    result = page.get_by_role("link", name="Invoices", exact=True)
    result.focus()
    Job.objects.create(
        team=team, name="Of a colleague", base_model=job.base_model, dataset_version=job.dataset_version,
        grader_version=job.grader_version, settings=job.settings, state=State.PAUSED,
    )  # fmt: skip
    page.clock.fast_forward(31_000)
    expect(page.get_by_role("link", name="Of a colleague paused")).to_be_visible()
    expect(result).to_be_focused()
    Job.objects.filter(name="Of a colleague").update(state=State.CANCELLED)
    page.clock.fast_forward(31_000)
    expect(page.get_by_role("link", name="Of a colleague paused")).to_have_count(0)
    expect(result).to_be_focused()
