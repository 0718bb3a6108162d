"""Charts in a browser: zoom, time axis, several jobs, keyboard and URLs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.conftest import Process, free_port, until_up
from tests.e2e.site.test_every_page import sign_in
from tests.web.comparison import finished_job, side_summary
from webapp.jobs import recording
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.seeding.seed import Sizes, seed
from webapp.teams.models import Team, User
from workers.contract.events import MetricsEvent


def test_chart_settings_are_in_the_url(page: Page, site: str, team: Team, alice: User) -> None:
    job = seed(team, alice, Sizes(jobs=3, points=3_000, rollouts=60))
    other = Job.objects.filter(team=team).exclude(pk=job.pk).latest("pk")
    sign_in(page, site, alice)
    page.goto(job.get_absolute_url())
    reward = page.locator("figure[data-title='Reward']")
    plot = reward.locator(".u-over")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 4, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=[\d.]+&to=[\d.]+"))
    assert 0 < float(page.get_by_label("From").input_value()) < job.step / 2
    plot.dblclick()
    expect(page).not_to_have_url(re.compile("from="))

    page.get_by_label("Smoothing").fill("0.6")
    page.get_by_label("Raw data").select_option("band")
    page.get_by_label("X-axis").select_option("seconds")
    page.get_by_text("Compare with other jobs").click()
    page.get_by_label(other.name).check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page).to_have_url(re.compile(f"with={other.uid}&smooth=0.6&raw=band&x=seconds"))
    expect(page.get_by_label("Smoothing")).to_have_value("0.6")
    legend = reward.locator(".u-legend")
    expect(legend).to_contain_text("seconds of training")
    expect(legend).to_contain_text(other.name)
    entropy = page.locator("figure[data-title='Entropy']")
    entropy.scroll_into_view_if_needed()
    time_elsewhere = entropy.locator(".u-legend tr").first
    at_rest = time_elsewhere.inner_text()
    assert re.search(r"\d", at_rest), "without a crosshair the last values are told"

    reward.locator("[data-plot]").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#announce")).to_contain_text(re.compile(rf"training [\d.]+, .*{job.name}"))
    expect(time_elsewhere).not_to_have_text(at_rest)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reward.get_by_role("button", name="Copy the values of Reward").click()
    expect(page.locator("#toasts")).to_contain_text("copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("seconds of training\t")
    with page.expect_download() as picture:
        reward.get_by_role("button", name="Reward as PNG").click()
    assert picture.value.suggested_filename == "Reward.png"
    with page.expect_download() as values:
        reward.get_by_role("link", name="Reward as CSV").click()
    assert other.name in values.value.path().read_text()


BACK_MS = 40_000


def report(job: Job, first: int, last: int) -> None:
    """Record metrics of these steps."""
    steps = range(first, last + 1)
    values = {"reward": 0.5, "step_time": 1.0}
    recording.record_events(
        job.pk, 1, [MetricsEvent(step=step, total_steps=20, values=values) for step in steps]
    )


def test_a_cut_connection_leaves_no_gap_and_two_tabs_agree(
    page: Page, site: str, start: Callable[..., Process], team: Team, alice: User
) -> None:
    job = finished_job(team, alice)
    lease = timezone.now() + timedelta(hours=1)
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, attempt=1, lease_until=lease)
    report(job, 1, 3)
    port = str(free_port())
    serve = ("uvicorn", "webapp.config.asgi:application", "--port", port, "--lifespan", "off")
    server = start(*serve)
    sign_in(page, site, alice)
    tabs = [page, page.context.new_page()]
    until_up(f"http://127.0.0.1:{port}")
    for tab in tabs:
        tab.goto(f"http://127.0.0.1:{port}{job.get_absolute_url()}")
        tab.locator("figure[data-title='Reward'] summary").click()
        expect(tab.locator("[data-live-status]")).to_have_text("Live")
    server.kill()
    for tab in tabs:
        expect(tab.locator("[data-live-status]")).to_have_text("Reconnecting…")
    report(job, 4, 9)
    start(*serve)
    for tab in tabs:
        expect(tab.locator("[data-live-status]")).to_have_text("Live", timeout=BACK_MS)
        rows = tab.locator("figure[data-title='Reward'] [data-values] tr td:first-child")
        expect(rows).to_have_text([str(step) for step in range(1, 10)])


def test_validations_are_drawn_raw_with_their_own_step(
    page: Page, site: str, team: Team, alice: User
) -> None:
    """Smoothing does not apply to them; after the last one its step is named."""
    job = finished_job(team, alice)
    for step in range(1, 13):
        job.metrics.create(step=step, values={"reward": step / 12})
    for step, mean in ((2, 0.25), (5, 0.75)):
        side = side_summary(mean)
        job.evaluations.create(
            stage="during", split="validation", step=step, rows=4, samples_per_row=1, base=side, tuned=side
        )
    sign_in(page, site, alice)
    page.goto(f"{job.get_absolute_url()}?smooth=0.95")
    figure = page.locator("figure[data-title='Validation reward']")
    figure.get_by_role("application").press("End")
    expect(page.locator("#announce")).to_have_text("step 12, reward 0.75 (step 5)")
    expect(figure.locator(".u-legend")).to_contain_text("0.75 (step 5)")
    figure.get_by_text("Values").click()
    expect(figure.locator("[data-values] td", has_text="0.75")).to_have_count(1)
