"""The main job with an environment, as a user clicks it: write, play, train, read episodes, compare."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.graders.test_graders import sign_up
from webapp.registry.services import ensure_tool_starter_model

TRAINING_MS = 240_000
SETTINGS = {
    "Max steps": "2",
    "Preflight rows": "2",
    "Group size": "4",
    "Prompts per step": "2",
    "Checkpoint every": "2",
    "Max rows": "4",
    "Validation max rows": "2",
    "Samples per row": "2",
    "Validation samples per row": "2",
    "Every": "0",
}


def call(page: Page, tool: str, **arguments: str) -> None:
    """Act as the model: fill in the form of a tool and call it."""
    form = page.locator("details").filter(has_text=tool)
    if form.get_attribute("open") is None:
        form.locator("summary").click()
    for name, value in arguments.items():
        field = form.get_by_label(name)
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    page.get_by_role("button", name=f"Call {tool}").click()


def play_by_hand(page: Page) -> None:
    """Ask who the customer is, look up the orders, and deny: the case ends with its reward."""
    page.get_by_role("button", name="Play", exact=True).click()
    transcript = page.get_by_label("Transcript")
    call(page, "ask_customer", field="email")
    expect(transcript).to_contain_text("@")
    call(page, "find_orders", email=read_from(transcript, r"\w+@[a-z.]+com"))
    expect(transcript).to_contain_text(re.compile(r"O\d{4}"))
    call(page, "deny", order_id=read_from(transcript, r"O\d{4}"), reason="outside_window")
    expect(page.get_by_text("Reward", exact=True)).to_be_visible()


def read_from(transcript: Locator, pattern: str) -> str:
    (found, *_) = re.findall(pattern, transcript.inner_text())
    return str(found)


@pytest.mark.timeout(420)
def test_an_environment_is_written_played_trained_on_and_compared(page: Page, live: str) -> None:
    sign_up(page)
    ensure_tool_starter_model()
    page.get_by_role("link", name="Environments", exact=True).click()
    page.get_by_role("link", name="Write an environment").click()
    page.get_by_label("Name").fill("Refunds")
    page.get_by_label("Refund desk").check()
    page.get_by_role("button", name="Create environment").click()
    play_by_hand(page)
    page.get_by_role("link", name="Play another task").click()
    page.get_by_label("Tasks of each split").fill("16")
    page.get_by_role("button", name="Create a dataset of tasks").click()
    made = page.get_by_role("link", name="Refunds v1").last
    expect(made).to_be_visible()
    made.click()
    page.get_by_role("link", name="Use in a job").click()
    page.get_by_label("Base model").select_option(label="groove/starter-tools")
    page.get_by_text("Advanced", exact=True).click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Launch job").click()
    expect(page.get_by_role("link", name="View model")).to_be_visible(timeout=TRAINING_MS)
    page.get_by_role("link", name="Rollouts").click()
    expect(page.get_by_text("16 rollouts")).to_be_visible()
    page.locator("a[data-row]").first.click()
    expect(page.locator("#episode [data-turn]").first).to_be_visible()
    page.get_by_role("link", name="Compare", exact=True).click()
    page.get_by_role("link", name="Read the episodes").first.click()
    expect(page.get_by_text(re.compile("The two episodes (part in turn|are the same)"))).to_be_visible()
