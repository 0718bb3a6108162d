"""Suites: chosen at launch, measured and drawn; an owner releases a held-back model."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.files import File
from playwright.sync_api import Page, expect

from tests.e2e.fields import choose_option
from tests.e2e.graders.test_graders import sign_up
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.graders.services import create_grader
from webapp.home.sample_project import GRADER
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import User

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "workers" / "starter" / "sample" / "dataset.jsonl"
PROSE = {"type": "regex", "name": "prose", "input": "{{ sample.output_text }}", "pattern": "^[^{]"}
SETTINGS = {
    "Max steps": "6",
    "Group size": "4",
    "Prompts per step": "4",
    "Max completion length": "40",
    "Checkpoint every": "6",
    "Max rows": "8",
    "Validation max rows": "6",
    "Samples per row": "2",
    "Validation samples per row": "2",
    "Every": "2",
}
TRAINING_MS = 240_000
BARRIERS: list[str] = []


def audit(page: Page) -> None:
    """Collect violations of WCAG 2 A or AA on this page; the test reports them at its end."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    if found.violations_count:
        BARRIERS.append(f"{page.url}\n{found.generate_report()}")


def prepare(dana: User) -> None:
    """Create invoices to train on, and a grader that rewards text which is not JSON."""
    team = dana.memberships.get().team
    rows = [line for line in SAMPLE.read_text().splitlines() if json.loads(line)["task"] == "invoice"]
    stream = io.BytesIO("\n".join(rows[:120]).encode())
    commit_upload(
        receive_file(team, dana, "Invoices", File(stream, name="a.jsonl"), Options()), dana, Choices()
    )
    create_grader(team, dana, "Prose", PROSE)


def launch(page: Page) -> None:
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("link", name="New job").first.click()
    choose_option(page, "Dataset", "Invoices v1")
    choose_option(page, "Grader", f"{GRADER} v1")
    page.get_by_text("Regression checks").click()
    page.get_by_label("Orders", exact=True).check()
    choose_option(page, "Rows of suite 1", "Invoices v1")
    choose_option(page, "Grader of suite 1", "Prose v1")
    page.get_by_label("Suite 1 may lose").fill("0.01")
    page.get_by_text("Advanced", exact=True).click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)
    audit(page)
    page.get_by_role("button", name="Launch job").click()


def look_at_the_plane(page: Page) -> None:
    page.get_by_role("link", name="Retention", exact=True).click()
    expect(page.get_by_text("Held back by the retention gate")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="step 6, final")).to_be_visible()
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.reload()  # colours fade from one theme to the other
        expect(page.locator("[data-plane] canvas")).to_be_visible()
        audit(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_label("Retention of").select_option("Orders")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row").filter(has_text="step 6, final")).to_contain_text("Orders")


def release(page: Page) -> None:
    page.get_by_role("link", name="View model").click()
    expect(page.get_by_text("Held back by the retention gate")).to_be_visible()
    audit(page)
    page.get_by_role("button", name="Override and approve").click()
    page.get_by_label("Why is it ready?").fill("Nobody wants prose.")
    page.get_by_role("dialog").get_by_role("button", name="Override and approve").click()
    expect(page.get_by_text("released by an owner")).to_be_visible()
    expect(page.get_by_text("Nobody wants prose.")).to_be_visible()
    audit(page)
    page.get_by_role("link", name="Models", exact=True).first.click()
    expect(page.get_by_text("released by an owner")).to_be_visible()


@pytest.mark.usefixtures("live")
def test_a_held_back_model_is_released_by_an_owner(page: Page) -> None:
    ensure_starter_model()
    sign_up(page)
    prepare(User.objects.get())
    launch(page)
    expect(page.get_by_role("link", name="View model")).to_be_visible(timeout=TRAINING_MS)
    look_at_the_plane(page)
    release(page)
    assert not BARRIERS, "\n".join(BARRIERS)
