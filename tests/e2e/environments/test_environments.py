"""An environment in a browser: written from an example, played by hand, made a dataset."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.graders.test_graders import sign_up


def audit(page: Page) -> None:
    """The page breaks no rule of WCAG 2 A or AA."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    assert not found.violations_count, found.generate_report()


def guess(page: Page, number: int) -> None:
    page.get_by_label("number", exact=True).fill(str(number))
    page.get_by_label("number", exact=True).press("Enter")


def test_an_environment_is_written_played_and_made_a_dataset(page: Page, live: str) -> None:
    sign_up(page)
    page.get_by_role("link", name="Environments", exact=True).click()
    page.get_by_role("link", name="Write an environment").click()
    page.get_by_label("Name").fill("Numbers")
    page.get_by_label("Number guess").check()
    page.get_by_role("button", name="Create environment").click()
    page.locator(".cm-content").click()
    page.keyboard.press("Control+s")
    expect(page.get_by_text("Nothing changed since version 1.")).to_be_visible()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    audit(page)
    page.get_by_role("button", name="Create a dataset of tasks").click()
    expect(page.get_by_role("link", name="Numbers v1").last).to_be_visible()
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_text("I think of a number from 1 to 100.")).to_be_visible()
    guess(page, 50)
    expect(page.get_by_text("The hidden number is lower.")).to_be_visible()
    audit(page)
    guess(page, 1)
    expect(page.get_by_text("The number was found.")).to_be_visible()
    expect(page.get_by_text("1.000")).to_be_visible()
    audit(page)
