"""The new-job page in a browser: presets, estimates and differences of a clone."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.e2e.test_main_job import sign_up
from webapp.registry.services import ensure_starter_model


def test_a_preset_fills_in_the_estimate_follows_and_a_clone_resets(page: Page) -> None:
    ensure_starter_model()
    sign_up(page)
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("link", name="New job").first.click()
    steps = page.get_by_label("Max steps", exact=True)
    page.get_by_role("link", name="Standard").click()
    standard = int(steps.input_value())
    page.get_by_role("link", name="Thorough").click()
    expect(steps).to_have_value(str(3 * standard))
    expect(page.locator("#estimates")).to_contain_text(f"This job takes {3 * standard} steps")
    steps.fill("7")
    expect(page.locator("#estimates")).to_contain_text("This job takes 7 steps")
    page.get_by_role("button", name="Launch job").click()

    page.get_by_role("link", name="Clone").click()
    expect(page.locator("#estimates")).to_contain_text("No setting differs")
    steps.fill("9")
    page.get_by_role("button", name="Reset Max steps to 7").click()
    expect(steps).to_have_value("7")
    expect(page.locator("#estimates")).to_contain_text("No setting differs")
