"""Judges in a browser: connect, test, compare with people's labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.graders.test_graders import sign_up, type_json
from tests.workers.judge_server import KEY, Answer, JudgeServer
from webapp.calibration.models import HumanLabel
from webapp.registry.services import ensure_starter_model

WORKER_MS = 20_000
LABELS, AGAIN = 30, 12
SHOWN = {"role": "user", "content": "How complete is this answer?\n{{sample.output_text}}"}
COMPLETE = {"type": "score_model", "name": "complete", "model": "critic", "input": [SHOWN], "range": [0, 1]}
POLITE = "I hope this helps! The amount is as stated."
STRICT = {0: 1, 1: 2, 2: 3}  # what a person thinks of so many fields; the judge is content with two
BARRIERS: list[str] = []


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with JudgeServer(lambda body, number: verdict(body)) as server:
        yield server


def fields(answer: str) -> int:
    """How many fields an answer gives: three make it complete."""
    return answer.count('": ')


def verdict(body: Any) -> Answer:
    """A score by the fields of the answer; to other questions a label."""
    form = body["response_format"]["json_schema"]["schema"]["properties"]
    if "label" in form:
        return Answer(json.dumps({"reason": "so it is", "label": form["label"]["enum"][0]}))
    given = fields(body["messages"][-1]["content"])
    return Answer(json.dumps({"steps": [], "result": min(given, 3) / 3}))


def audit(page: Page) -> None:
    """Note what breaks WCAG 2 A or AA on this page; the test fails at its end with all of it."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    if found.violations_count:
        BARRIERS.append(f"{page.url}\n{found.generate_report()}")


def connect(page: Page, url: str) -> None:
    """A worker asks the new judge by itself, and the list says that it answered; the key is not shown."""
    page.get_by_role("link", name="Judges", exact=True).click()
    page.get_by_role("main").get_by_role("link", name="Connect a judge").first.click()
    page.get_by_label("Name", exact=True).fill("critic")
    page.get_by_label("Base URL").fill(url)
    page.get_by_label("Key", exact=True).fill(KEY)
    page.get_by_label("Input price per 1M tokens").fill("10")
    audit(page)
    page.get_by_role("button", name="Connect").click()
    row = page.get_by_role("row").filter(has_text="critic")
    expect(row.get_by_text("answered")).to_be_visible(timeout=WORKER_MS)
    assert KEY not in page.content()
    audit(page)


def import_grader(page: Page) -> None:
    """A grader that asks the judge says at once that nobody has measured it."""
    page.get_by_role("link", name="Graders").first.click()
    page.get_by_role("link", name="New grader").click()
    page.get_by_role("link", name="Import grader JSON").click()
    type_json(page, json.dumps(COMPLETE, indent=1))
    page.get_by_role("button", name="Import grader").click()
    expect(page.get_by_role("heading", name="complete")).to_be_visible()
    expect(page.get_by_role("link", name="uncalibrated").first).to_be_visible()


def run_on_rows(page: Page) -> None:
    """The right answer and a polite nothing on 20 rows: enough answers to label."""
    page.get_by_label("How many").fill("20")
    page.get_by_label("A completion I type").check()
    page.get_by_label("Completion", exact=True).fill(POLITE)
    page.get_by_role("button", name="Run on rows").click()
    expect(page.get_by_text("over 40 completions of 20 rows")).to_be_visible(timeout=WORKER_MS)


def start_labelling(page: Page) -> None:
    """From the word that warns to the answers, with nothing on them but prompt and answer."""
    page.get_by_role("link", name="uncalibrated").first.click()
    expect(page.get_by_text(f"0 labels so far, {LABELS} more needed.")).to_be_visible()
    expect(page.get_by_role("button", name="Make the card")).to_be_disabled()
    audit(page)
    page.get_by_role("button", name="Label answers").click()
    expect(page.get_by_role("heading", name="Answer 1 of 40")).to_be_visible()
    audit(page)


def label_all(page: Page) -> None:
    """By keys alone: one answer gets a wrong label first; the left arrow goes back to give the right one."""
    for number in range(1, LABELS + 1):
        right = label_of(page)
        if number == AGAIN:
            page.keyboard.press("1" if right == "2" else "2")
            expect(at(page, number + 1)).to_be_visible()
            page.keyboard.press("ArrowLeft")
            expect(at(page, number)).to_be_visible()
            expect(page.locator("[aria-pressed=true]")).not_to_have_text(right)
            page.keyboard.press("ArrowRight")
            expect(at(page, number + 1)).to_be_visible()
            page.keyboard.press("ArrowLeft")
            expect(at(page, number)).to_be_visible()
        page.keyboard.press(right)
        expect(at(page, number + 1)).to_be_visible()
    assert page.get_by_role("progressbar").get_attribute("value") == str(LABELS)
    assert HumanLabel.objects.count() == LABELS


def at(page: Page, number: int) -> Any:
    return page.get_by_role("heading", name=f"Answer {number} of 40")


def label_of(page: Page) -> str:
    """What a strict person thinks of the shown answer."""
    answer = page.get_by_role("region", name="Answer").locator("pre").inner_text()
    return str(STRICT.get(fields(answer), 5))


def expected_kappa() -> str:
    """Of the stored labels and the judge's rule, as a table of four counts (Cohen 1960)."""
    people, machine = [], []
    for label in HumanLabel.objects.select_related("task"):
        people.append(label.value >= 4)
        machine.append(fields(label.task.answers[label.answer]["text"]) >= 2)
    total = len(people)
    same = sum(a == b for a, b in zip(people, machine, strict=True)) / total
    passed = sum(people) * sum(machine) / total**2
    failed = (total - sum(people)) * (total - sum(machine)) / total**2
    return f"{(same - passed - failed) / (1 - passed - failed):.3f}"


def make_card(page: Page) -> None:
    """The card shows how far the judge agrees, and where it does not."""
    page.get_by_role("link", name="judge card").click()
    page.get_by_role("button", name="Make the card").click()
    expect(page.get_by_text(f"on {LABELS} labels")).to_be_visible(timeout=WORKER_MS)
    expect(page.get_by_text("Agreement, Cohen's κ").locator("..")).to_contain_text(expected_kappa())
    expect(page.get_by_role("img").locator("circle")).to_have_count(LABELS)
    apart = page.get_by_role("region", name="Largest disagreements").get_by_role("listitem").first
    expect(apart).to_contain_text("label 3, judge 0.667")
    audit(page)


def see_it_calibrated(page: Page) -> None:
    """The warning is gone; in its place the card is one click away."""
    page.get_by_role("link", name="complete").click()
    expect(page.get_by_role("link", name="Judge card")).to_be_visible()
    expect(page.get_by_text("uncalibrated")).to_have_count(0)


@pytest.mark.usefixtures("live")
def test_a_judge_is_connected_asked_and_measured_against_labels(page: Page, judge: JudgeServer) -> None:
    ensure_starter_model()
    sign_up(page)
    connect(page, judge.url)
    import_grader(page)
    run_on_rows(page)
    start_labelling(page)
    label_all(page)
    make_card(page)
    see_it_calibrated(page)
    assert set(judge.authorizations) == {f"Bearer {KEY}"}
    assert not BARRIERS, "\n".join(BARRIERS)
