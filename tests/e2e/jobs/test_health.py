"""A grader with a loophole: the alarm pauses the job and links to example rollouts."""

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
LOOPHOLE = {
    "type": "string_check",
    "name": "mentions_general",
    "operation": "like",
    "input": "{{ sample.output_text }}",
    "reference": "general",
}
SETTINGS = {
    "Max steps": "30",
    "Group size": "8",
    "Prompts per step": "4",
    "Max completion length": "40",
    "Learning rate": "0.001",
    "Max rows": "6",
    "Validation max rows": "4",
    "Every": "0",
}
TRAINING_MS = 180_000
BARRIERS: list[str] = []


def audit(page: Page) -> None:
    """Collect violations of WCAG 2 A or AA on this page; the test reports them at its end."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    if found.violations_count:
        BARRIERS.append(f"{page.url}\n{found.generate_report()}")


def prepare(dana: User) -> None:
    """Create tickets and a grader that rewards one word; the sample's grader is held out."""
    team = dana.memberships.get().team
    rows = [line for line in SAMPLE.read_text().splitlines() if json.loads(line)["task"] == "ticket"]
    stream = io.BytesIO("\n".join(rows).encode())
    upload = receive_file(team, dana, "Tickets", File(stream, name="tickets.jsonl"), Options())
    commit_upload(upload, dana, Choices())
    create_grader(team, dana, "Pays a word", LOOPHOLE)


def launch(page: Page) -> None:
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("link", name="New job").first.click()
    choose_option(page, "Dataset", "Tickets v1")
    choose_option(page, "Grader", "Pays a word v1")
    page.get_by_text("Advanced", exact=True).click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)
    choose_option(page, "Held-out grader", f"{GRADER} v1")
    page.get_by_label("Pause on signs of reward hacking", exact=True).check()
    audit(page)
    page.get_by_role("button", name="Launch job").click()


@pytest.mark.usefixtures("live")
def test_a_loophole_pauses_the_job_and_its_page_shows_why(page: Page) -> None:
    ensure_starter_model()
    sign_up(page)
    prepare(User.objects.get())
    launch(page)
    expect(page.get_by_text("Health checks start after the first training steps")).to_be_visible()
    expect(page.get_by_role("img", name="Entropy by step").first).to_be_visible(timeout=TRAINING_MS)
    alarm = page.get_by_role("article").filter(has_text="held-out grader, which is never trained against")
    expect(alarm.get_by_text("and paused the job")).to_be_visible(timeout=TRAINING_MS)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.reload()  # colours fade from one theme to the other
        page.locator("figure[data-title='Held-out grader']").scroll_into_view_if_needed()
        expect(page.locator("figure[data-title='Held-out grader'] canvas")).to_be_visible()
        audit(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    alarm.get_by_role("link", name="View rollouts").click()
    expect(page.get_by_text("Example rollouts of an alarm")).to_be_visible()
    answers = page.locator("tbody tr:has([data-row])")
    assert answers.count() > 0
    expect(answers.filter(has_text="general")).to_have_count(answers.count())
    expect(answers.filter(has_text="held-out")).to_have_count(answers.count())
    audit(page)
    assert not BARRIERS, "\n".join(BARRIERS)
