"""A trained job is compared with SFT and a placebo in the browser."""

from __future__ import annotations

import io
import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.files import File
from playwright.sync_api import Page, expect

from tests.e2e.fields import choose_option
from tests.e2e.graders.test_graders import sign_up
from tests.e2e.jobs.test_retention import SAMPLE
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.home.sample_project import GRADER
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import User

SETTINGS = {
    "Max steps": "4",
    "Group size": "8",
    "Prompts per step": "4",
    "Max completion length": "40",
    "Max rows": "12",
    "Validation max rows": "4",
    "Samples per row": "2",
    "Validation samples per row": "2",
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
    rows = [line for line in SAMPLE.read_text().splitlines() if json.loads(line)["task"] == "invoice"]
    stream = io.BytesIO("\n".join(rows[:120]).encode())
    team = dana.memberships.get().team
    commit_upload(
        receive_file(team, dana, "Invoices", File(stream, name="a.jsonl"), Options()), dana, Choices()
    )


def launch(page: Page) -> None:
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("link", name="New job").first.click()
    choose_option(page, "Dataset", "Invoices v1")
    choose_option(page, "Grader", f"{GRADER} v1")
    page.get_by_text("Regression checks").click()
    page.get_by_label("Orders", exact=True).check()
    page.get_by_text("Advanced", exact=True).click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Launch job").click()
    expect(page.get_by_role("link", name="View model")).to_be_visible(timeout=TRAINING_MS)


def launch_control_runs(page: Page) -> None:
    page.get_by_role("link", name="Would SFT have been enough?").click()
    expect(page.get_by_text("Not run yet")).to_have_count(2)
    page.get_by_role("button", name="Run placebo").click()
    page.get_by_label("Demonstrations").select_option("template")
    page.get_by_label("Template").fill("the same for all")
    page.get_by_role("button", name="Run SFT").click()
    expect(page.get_by_text("The template uses no field of the row")).to_be_visible()
    audit(page)
    page.get_by_label("Template").fill("{{item.reference}}")
    page.get_by_role("button", name="Run SFT").click()


def finish(page: Page, method: str) -> None:
    """Wait on the run's page for its model, then return."""
    page.get_by_role("row").filter(has_text=method).get_by_role("link").click()
    expect(page.get_by_role("link", name="View model")).to_be_visible(timeout=TRAINING_MS)
    audit(page)
    page.get_by_role("link", name="Compare with RFT").click()
    page.get_by_text("is a control run of").get_by_role("link").click()


def check_results(page: Page) -> None:
    expect(page.get_by_text("Placebo: not known yet")).to_have_count(0)
    expect(page.get_by_text("RFT minus SFT on a template:")).to_be_visible()
    expect(page.get_by_text("Reward elsewhere, Orders: RFT")).to_be_visible()
    expect(page.get_by_text("RFT minus placebo:")).to_be_visible()
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.reload()
        audit(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.usefixtures("live")
def test_a_trained_job_is_compared_with_sft_and_a_placebo(page: Page) -> None:
    ensure_starter_model()
    sign_up(page)
    prepare(User.objects.get())
    launch(page)
    launch_control_runs(page)
    finish(page, "Placebo")
    finish(page, "SFT on a template")
    check_results(page)
    assert not BARRIERS, "\n".join(BARRIERS)
