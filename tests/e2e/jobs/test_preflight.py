"""A job that cannot learn: it pauses, explains why, and trains anyway on request."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.fields import choose_option
from tests.e2e.graders.test_graders import sign_up
from webapp.graders.services import create_grader
from webapp.home.sample_project import create_sample_project
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import User

NEVER = {
    "type": "string_check",
    "name": "never",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "no model writes this",
}
SETTINGS = {
    "Preflight rows": "6",
    "Preflight answers a row": "16",
    "Max steps": "4",
    "Validation max rows": "2",
}
PATIENCE_MS = 90_000
BARRIERS: list[str] = []


def audit(page: Page) -> None:
    """Collect violations of WCAG 2 A or AA on this page; the test reports them at its end."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    if found.violations_count:
        BARRIERS.append(f"{page.url}\n{found.generate_report()}")


@pytest.mark.usefixtures("live")
def test_a_job_that_cannot_learn_pauses_and_can_train_anyway(page: Page, tmp_path: Path) -> None:
    ensure_starter_model()
    sign_up(page)
    dana = User.objects.get()
    team = dana.memberships.get().team
    if not team.datasets.exists():
        create_sample_project(team, dana)
    create_grader(team, dana, "Never", NEVER)
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("link", name="New job").first.click()
    choose_option(page, "Grader", "Never v1")
    page.get_by_text("Advanced", exact=True).click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Launch job").click()
    expect(page.get_by_text("The preflight advises against training").first).to_be_visible(
        timeout=PATIENCE_MS
    )
    expect(page.get_by_role("button", name="Train anyway")).to_be_visible()
    page.get_by_role("link", name="View preflight").click()
    figure = page.locator("figure[data-curves] canvas")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.reload()
        expect(figure).to_be_visible()
        page.screenshot(path=tmp_path / f"{theme}.png", full_page=True)
        audit(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=tmp_path / "narrow.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(page.get_by_role("row").filter(has_text="this job")).to_contain_text("100 %")
    page.get_by_role("button", name="Train anyway").click()
    page.get_by_role("dialog").get_by_role("button", name="Train anyway").click()
    page.get_by_role("link", name="Preflight", exact=True).click()
    expect(page.get_by_text("dana@example.com trained anyway.")).to_be_visible()
    assert not BARRIERS, "\n".join(BARRIERS)
