"""Graders in a browser: import, run on rows, save known answers, find exploits."""

from __future__ import annotations

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from webapp.graders.models import Grader
from webapp.graders.services import list_unmet_conditions
from webapp.home.sample_project import HACKABLE
from webapp.registry.services import ensure_starter_model

WORKER_MS = 20_000
SIMILAR = {
    "type": "text_similarity",
    "name": "alike",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference}}",
    "evaluation_metric": "rouge_l",
}
POLITE = "I hope this helps! The amount is as stated."
BARRIERS: list[str] = []


def sign_up(page: Page) -> None:
    """A newcomer's team has the sample project with its two graders."""
    page.goto("/accounts/signup/")
    page.get_by_label("Email").fill("dana@example.com")
    page.get_by_label("Password").fill("a long enough phrase")
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("link", name="Graders", exact=True).click()


def audit(page: Page) -> None:
    """Note what breaks WCAG 2 A or AA on this page; the test fails at its end with all of it."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    if found.violations_count:
        BARRIERS.append(f"{page.url}\n{found.generate_report()}")


def type_json(page: Page, text: str) -> None:
    """Into the editor, as a paste."""
    page.locator(".cm-content").fill(text)


def import_json(page: Page) -> None:
    """A wrong field is underlined and named; the corrected JSON becomes a grader."""
    page.get_by_role("link", name="New grader").click()
    audit(page)
    page.get_by_role("link", name="Import grader JSON").click()
    wrong = SIMILAR | {"evaluation_metric": "rouge_12"}
    job = {"method": {"type": "reinforcement", "reinforcement": {"grader": wrong}}}
    type_json(page, json.dumps(job, indent=1))
    expect(page.locator(".cm-lintRange-error")).to_be_visible()
    page.get_by_role("button", name="Import grader").click()
    expect(page.get_by_text("method.reinforcement.grader.evaluation_metric")).to_be_visible()
    expect(page.get_by_text("Line 10:")).to_be_visible()
    audit(page)
    type_json(page, json.dumps(SIMILAR, indent=1))
    page.get_by_role("button", name="Import grader").click()
    expect(page.get_by_role("heading", name="alike")).to_be_visible()


def run_on_rows(page: Page) -> None:
    """Typed and true answers side by side; a bar of the histogram shows its rows, and the address says so."""
    page.get_by_label("Rows", exact=True).select_option("random")
    page.get_by_label("How many").fill("6")
    page.get_by_label("A completion I type").check()
    page.get_by_label("Completion", exact=True).fill(POLITE)
    page.get_by_role("button", name="Run on rows").click()
    expect(page.get_by_text("over 12 completions of 6 rows")).to_be_visible(timeout=WORKER_MS)
    assert "?trial=" in page.url
    audit(page)
    page.get_by_role("link", name="6 completions, reward 0.9 to 1").click()
    expect(page.get_by_text("6 rows with a completion in reward 0.9 to 1, marked.")).to_be_visible()
    assert "bin=9" in page.url
    page.reload()
    expect(page.get_by_text("6 rows with a completion in reward 0.9 to 1, marked.")).to_be_visible()


def keep_known_bad(page: Page) -> None:
    """One click keeps a polite nothing as known bad; this version pays it nothing and passes."""
    polite = page.get_by_role("listitem").filter(has_text="Typed").last
    polite.get_by_role("button", name="Keep as known bad").click()
    expect(page.get_by_text("Saved as known bad.")).to_be_visible()
    expect(page.get_by_text("as required")).to_be_visible(timeout=WORKER_MS)
    expect(page.locator("#check-badge")).not_to_contain_text("checking")
    audit(page)


def break_it(page: Page, grader: Grader) -> None:
    """A version that pays for politeness keeps the results on the page and is refused for jobs."""
    everybody = SIMILAR | {"reference": "I hope this helps! The amount is {{item.reference}}."}
    type_json(page, json.dumps(everybody, indent=1))
    page.get_by_role("button", name="Save version").click()
    expect(page.get_by_text("Saved as version 2.")).to_be_visible()
    expect(page.get_by_text("over 12 completions of 6 rows")).to_be_visible()
    refusal = page.get_by_text("a known bad answer must earn at most 0.3")
    expect(refusal).to_be_visible(timeout=WORKER_MS)
    assert "known bad answer" in list_unmet_conditions(grader.versions.get(number=2))[0]
    assert list_unmet_conditions(grader.versions.get(number=1)) == []
    page.get_by_role("link", name="v2", exact=True).click()
    expect(page.locator("ins").first).to_be_visible()
    audit(page)


def see_the_hackable_one(page: Page) -> None:
    """The list warns of it, and its page shows the row, the answer and the reward."""
    page.get_by_role("link", name="Graders").first.click()
    row = page.get_by_role("row").filter(has_text=HACKABLE)
    expect(row.get_by_text("exploits rewarded")).to_be_visible()
    audit(page)
    row.get_by_role("link", name=HACKABLE).click()
    evidence = page.get_by_role("status").filter(has_text="The prompt, echoed: rewarded on 24 of 24 rows")
    expect(evidence).to_be_visible()
    expect(evidence.get_by_text("reward 1.000").first).to_be_visible()
    audit(page)


@pytest.mark.usefixtures("live")
def test_a_grader_is_imported_tried_held_to_known_answers_and_tested_for_cheats(
    page: Page,
) -> None:
    ensure_starter_model()
    sign_up(page)
    import_json(page)
    run_on_rows(page)
    keep_known_bad(page)
    break_it(page, Grader.objects.get(name="alike"))
    see_the_hackable_one(page)
    assert not BARRIERS, "\n".join(BARRIERS)
