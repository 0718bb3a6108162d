"""The comparison of base and tuned in a browser: votes by keys, and notes."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import sign_in
from tests.e2e.site.test_shell import assert_no_barriers
from tests.web.comparison import compare, finished_job, row, sample
from webapp.evaluations.models import Vote
from webapp.teams.models import Team, User

TUNED = '{"due": "July", "amount":5}'
PROMPT = "<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"


def vote_by_keys(page: Page) -> None:
    """Vote right, left after going back, and no difference: arrows move, digits vote."""
    progress = page.get_by_role("progressbar")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**skip=*")
    page.wait_for_load_state()
    page.keyboard.press("2")
    page.wait_for_url("**last=*")
    expect(progress).to_have_attribute("value", "1")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("button", name="Right is better")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("1")
    page.wait_for_url("**last=*")
    expect(progress).to_have_attribute("value", "1")
    page.keyboard.press("0")
    expect(page.get_by_role("heading", name="You have judged all 2 rows")).to_be_visible()


def write_a_note(page: Page) -> None:
    """Only the note's part of the page changes; other open parts stay open."""
    first = page.get_by_role("article").first
    first.get_by_text("Prompt", exact=True).click()
    first.get_by_text("Add a note").click()
    first.get_by_role("textbox").fill("The currency is missing.")
    first.get_by_role("button", name="Save note").click()
    expect(first.get_by_text("Change your note")).to_be_visible()
    expect(first.locator("p", has_text="The currency is missing.")).to_be_visible()
    expect(first.locator("details").first).to_have_attribute("open", "")
    assert_no_barriers(page)


def read_the_differences(page: Page) -> None:
    """The diff to the expected answer compares values, not order of keys or white space."""
    tuned = page.get_by_role("article").first.get_by_label("Tuned answers")
    expect(tuned.locator("del")).to_have_text("June")
    expect(tuned.locator("ins")).to_have_text("July")
    page.get_by_role("link", name="Mark between the models").click()
    expect(page.get_by_role("article").first.locator("pre ins").first).to_be_visible()


def test_votes_by_keys_and_notes_in_place(page: Page, site: str, team: Team, alice: User) -> None:
    job = finished_job(team, alice)
    rows = [row(f"{n}", [sample(0.2, f"base {n}")], [sample(0.9, TUNED)]) for n in range(2)]
    known = {"prompt": PROMPT, "item": {"reference": {"amount": 5, "due": "June"}}}
    compare(job, [each.model_copy(update=known) for each in rows])
    sign_in(page, site, alice)
    page.goto(f"{job.get_absolute_url()}compare/vote/")
    vote_by_keys(page)
    assert sorted(Vote.objects.values_list("preferred", flat=True)) != ["tie", "tie"]
    page.get_by_role("link", name="See the result").click()
    expect(page.get_by_role("heading", name="What people prefer")).to_be_visible()
    read_the_differences(page)
    write_a_note(page)


def test_a_phone_folds_what_makes_a_comparison_long(page: Page, site: str, team: Team, alice: User) -> None:
    job = finished_job(team, alice)
    told = {"messages": [{"role": "user", "content": "An invoice with many lines. " * 40}]}
    base = [sample(n % 2, f"Line {n}: 12 crates of pears. " * 20) for n in range(8)]
    tuned = [sample(n % 3 / 2, f"Line {n}: 12 crates of plums. " * 20) for n in range(8)]
    compare(job, [row(f"{n}", base[n % 3 :], tuned).model_copy(update=told) for n in range(40)])
    sign_in(page, site, alice)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{job.get_absolute_url()}compare/")
    rows = page.get_by_role("article")
    expect(rows).to_have_count(10)
    heights = rows.evaluate_all("rows => rows.map(row => row.offsetHeight)")
    assert max(heights) < 150, heights
    assert page.evaluate("document.documentElement.scrollHeight") < 4500
    expect(rows.first.get_by_label("Tuned answers")).to_be_hidden()
    rows.first.get_by_role("button", name="Prompt and answers").click()
    expect(rows.first.get_by_label("Tuned answers")).to_be_visible()
    checks = page.get_by_text("McNemar's exact test")
    expect(checks).to_be_hidden()
    page.get_by_role("button", name="Tests and detectable gain").click()
    expect(checks).to_be_visible()
