"""New results of a running job are offered by a link, and the page does not move."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import sign_in
from tests.web.comparison import finished_job
from tests.web.jobs.test_services import rollouts
from webapp.jobs import recording
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.models import Team, User
from workers.contract.events import Interval, RetentionEvent


def test_new_rollouts_and_measurements_are_offered(page: Page, site: str, team: Team, alice: User) -> None:
    job = finished_job(team, alice)
    lease = timezone.now() + timedelta(hours=1)
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, attempt=1, lease_until=lease, step=0)
    sign_in(page, site, alice)
    page.goto(f"{job.get_absolute_url()}rollouts/")
    with page.expect_response(lambda answer: "beyond=" in answer.url):
        recording.record_events(job.pk, 1, [rollouts(1)])
    page.get_by_role("link", name="1 new rollout, show").click()
    expect(page.get_by_role("link", name="1·0")).to_be_visible()

    page.goto(f"{job.get_absolute_url()}retention/")
    offer = page.get_by_role("link", name="New measurements, show")
    expect(offer).to_be_hidden()
    before = Interval(mean=0.5, low=0.4, high=0.6)
    told = RetentionEvent(suite="", stage="before", step=0, rows=4, samples_per_row=1, base=before)
    recording.record_events(job.pk, 1, [told])
    offer.click()
    expect(offer).to_be_hidden()
