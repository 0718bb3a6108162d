"""Two tasks share an adapter, interference is measured, and training continues from it."""

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
from webapp.home.sample_project import GRADER
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import User

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "workers" / "starter" / "sample" / "dataset.jsonl"
SETTINGS = {
    "Max steps": "4",
    "Group size": "4",
    "Prompts per step": "4",
    "Max completion length": "32",
    "Checkpoint every": "4",
    "Max rows": "6",
    "Validation max rows": "2",
    "Samples per row": "2",
    "Every": "0",
    "Preflight rows": "0",
}
TRAINING_MS = 240_000
BARRIERS: list[str] = []


def audit(page: Page) -> None:
    """Collect violations of WCAG 2 A or AA on this page; the test reports them at its end."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    if found.violations_count:
        BARRIERS.append(f"{page.url}\n{found.generate_report()}")


def prepare(dana: User) -> None:
    """Create a dataset of invoices and one of tickets; the sample's grader grades both."""
    team = dana.memberships.get().team
    for name, kind in (("Invoices", "invoice"), ("Tickets", "ticket")):
        rows = [line for line in SAMPLE.read_text().splitlines() if json.loads(line)["task"] == kind]
        stream = io.BytesIO("\n".join(rows[:120]).encode())
        commit_upload(
            receive_file(team, dana, name, File(stream, name=f"{kind}.jsonl"), Options()), dana, Choices()
        )


def fill_settings(page: Page) -> None:
    page.get_by_text("Advanced", exact=True).click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)


def launch(page: Page) -> None:
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("link", name="New job").first.click()
    choose_option(page, "Dataset", "Invoices v1")
    choose_option(page, "Grader", f"{GRADER} v1")
    page.get_by_text("Multi-task training").click()
    page.get_by_role("button", name="Add a task").click()
    expect(page.get_by_label("Dataset", exact=True)).to_contain_text("Invoices v1")
    choose_option(page, "Dataset of task 2", "Tickets v1")
    choose_option(page, "Grader of task 2", f"{GRADER} v1")
    fill_settings(page)
    audit(page)
    page.get_by_role("button", name="Launch job").click()


def measure_interference(page: Page) -> None:
    page.get_by_role("link", name="Check task interference").click()
    page.get_by_role("button", name="Train each task alone: 2 jobs").click()
    expect(page.get_by_role("heading", name="Jobs of this measurement")).to_be_visible()
    for name in ("invoices", "tickets"):
        page.get_by_role("link", name=f": {name}").click()
        expect(page.get_by_role("link", name="View model")).to_be_visible(timeout=TRAINING_MS)
        page.go_back()
    page.reload()
    expect(page.get_by_role("heading", name="Reward together minus alone")).to_be_visible()
    expect(page.get_by_role("cell", name="worst task")).to_be_visible()
    audit(page)


def go_on(page: Page) -> None:
    page.get_by_role("link", name="Continue training").click()
    expect(page.get_by_label("Start from")).not_to_have_value("")
    fill_settings(page)
    page.get_by_role("button", name="Launch job").click()
    expect(page.get_by_text("Initial, held-out rows")).to_be_visible(timeout=TRAINING_MS)
    audit(page)


@pytest.mark.usefixtures("live")
def test_two_tasks_share_an_adapter_and_continue_from_it(page: Page) -> None:
    ensure_starter_model()
    sign_up(page)
    prepare(User.objects.get())
    launch(page)
    expect(page.get_by_text("2 tasks share the adapter")).to_be_visible()
    figure = page.locator("figure[data-title='Reward by task']")
    expect(figure).to_be_visible(timeout=TRAINING_MS)
    figure.scroll_into_view_if_needed()
    expect(figure.locator("canvas")).to_be_visible()
    expect(page.get_by_role("link", name="View model")).to_be_visible(timeout=TRAINING_MS)
    table = page.get_by_role("region", name="Evaluations on held-out rows")
    expect(table.get_by_text("tickets").first).to_be_visible()
    audit(page)
    measure_interference(page)
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("link", name="View model").click()
    go_on(page)
    assert not BARRIERS, "\n".join(BARRIERS)
