"""The episode viewer by keyboard and by search."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import sign_in
from tests.web import comparison, episodes
from tests.web.jobs.rollouts.test_episodes import record
from webapp.teams.models import Team, User


def test_an_episode_is_read_by_keys_and_searched(page: Page, site: str, team: Team, alice: User) -> None:
    job = comparison.finished_job(team, alice)
    said = episodes.result("search", "Nothing here.\n" * 40 + "a needle")
    record(job, episodes.refund(turns=[*episodes.refund().turns[:2], episodes.call("search"), said]))
    sign_in(page, site, alice)
    page.goto(f"{job.get_absolute_url()}rollouts/2/0/")
    turns = page.locator("#episode [data-turn]")
    for key, turn in (("n", 0), ("n", 1), ("p", 0)):
        page.keyboard.press(key)
        expect(turns.nth(turn)).to_be_focused()
    expect(page.get_by_text("a needle")).to_be_hidden()
    page.get_by_role("searchbox", name="Search this episode").fill("NEEDLE")
    expect(page.get_by_text("1 of 4 turns")).to_be_visible()
    expect(page.get_by_text("a needle")).to_be_visible()
    expect(turns.first).to_be_hidden()
    page.get_by_role("button", name="Fold all", exact=True).click()
    expect(page.get_by_text("a needle")).to_be_hidden()
    page.get_by_label("Tokens that are trained on").check()
    expect(page.get_by_text("18 tokens of this episode are trained on, 40 are not.")).to_be_visible()
