"""Charts in a real browser: looked at closely, against time, beside another job, by keyboard, by link."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.e2e.test_every_page import sign_in
from webapp.config.seeding import Sizes, seed
from webapp.jobs.models import Job
from webapp.teams.models import Team, User


def test_what_one_chooses_of_the_charts_is_in_the_link(
    page: Page, live: str, team: Team, alice: User
) -> None:
    job = seed(team, alice, Sizes(jobs=3, points=3_000, rollouts=60))
    other = Job.objects.filter(team=team).exclude(pk=job.pk).latest("pk")
    sign_in(page, live, alice)
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
    page.get_by_label("Raw values").select_option("band")
    page.get_by_label("Against").select_option("seconds")
    page.get_by_text("Draw other jobs too").click()
    page.get_by_label(other.name).check()
    page.get_by_role("button", name="Draw").click()
    expect(page).to_have_url(re.compile(f"smooth=0.6&raw=band&x=seconds.*with={other.uid}"))
    expect(page.get_by_label("Smoothing")).to_have_value("0.6")
    legend = reward.locator(".u-legend")
    expect(legend).to_contain_text("seconds of training")
    expect(legend).to_contain_text(other.name)

    reward.locator("[data-plot]").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#announce")).to_contain_text(re.compile(rf"training [\d.]+, .*{job.name}"))
    with page.expect_download() as picture:
        reward.get_by_role("button", name="Reward as PNG").click()
    assert picture.value.suggested_filename == "Reward.png"
    with page.expect_download() as values:
        reward.get_by_role("link", name="Reward as CSV").click()
    assert other.name in values.value.path().read_text()
