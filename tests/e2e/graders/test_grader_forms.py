"""Judge prompts, schemas and combined graders are edited by a form; the JSON is the second view."""

from __future__ import annotations

import json

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from webapp.graders.models import Grader

MULTI = {
    "type": "multi",
    "name": "both",
    "graders": {
        "exact": {
            "type": "string_check",
            "name": "exact",
            "input": "{{sample.output_text}}",
            "reference": "{{item.reference}}",
            "operation": "eq",
        },
        "shape": {"type": "json_schema", "name": "shape", "json_schema": {"type": "object"}},
    },
    "calculate_output": "0.5 * exact + 0.5 * shape",
}
JUDGE = {
    "type": "score_model",
    "name": "score",
    "model": "judge",
    "input": [{"role": "user", "content": "Score {{sample.output_text}}."}],
}


def sign_up(page: Page) -> None:
    page.goto("/accounts/signup/")
    page.get_by_label("Email").fill("dana@example.com")
    page.get_by_label("Password").fill("a long enough phrase")
    page.get_by_role("button", name="Create account").click()


def create(page: Page, definition: dict[str, object]) -> None:
    """By importing its JSON."""
    page.get_by_role("link", name="Graders", exact=True).first.click()
    page.get_by_role("link", name="New grader").click()
    page.get_by_role("link", name="Import grader JSON").click()
    page.locator(".cm-content").fill(json.dumps(definition, indent=1))
    page.get_by_role("button", name="Import grader").click()
    expect(page.get_by_role("heading", name=str(definition["name"]), exact=True)).to_be_visible()


def save(page: Page, name: str, number: int) -> dict[str, object]:
    """The definition as it was saved."""
    page.get_by_role("button", name="Save version").click()
    expect(page.get_by_text(f"Saved as version {number}.")).to_be_visible()
    definition: dict[str, object] = Grader.objects.get(name=name).versions.get(number=number).definition
    return definition


def test_a_combined_grader_and_a_judge_are_edited_by_form(page: Page) -> None:
    sign_up(page)
    create(page, MULTI)
    page.get_by_label("Formula", exact=True).fill("0.7 * exact + 0.3 * shape")
    page.get_by_label("Operation").select_option("ilike")
    page.get_by_label("JSON schema", exact=True).fill('{"type": "object", "required": ["total"]}')
    page.get_by_role("button", name="Add part").click()
    page.get_by_label("Name in the formula").last.fill("third")
    page.get_by_label("Name in the formula").last.blur()
    page.get_by_label("Kind", exact=True).last.select_option("math")
    violations = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    assert violations.violations_count == 0, violations.generate_report()
    saved = save(page, "both", 2)
    assert saved["calculate_output"] == "0.7 * exact + 0.3 * shape"
    parts = saved["graders"]
    assert isinstance(parts, dict)
    assert parts["exact"]["operation"] == "ilike"
    assert parts["shape"]["json_schema"] == {"type": "object", "required": ["total"]}
    assert list(parts) == ["exact", "shape", "third"]
    assert parts["third"]["type"] == "math"
    assert "operation" not in parts["third"]

    create(page, JUDGE)
    page.get_by_label("Message 1", exact=True).fill("Score the answer {{sample.output_text}}.")
    page.get_by_role("button", name="Add message").click()
    page.get_by_label("Role", exact=True).last.select_option("system")
    assert page.get_by_label("Message 2", exact=True).input_value() == "{{sample.output_text}}"
    messages = save(page, "score", 2)["input"]
    assert isinstance(messages, list)
    assert [message["role"] for message in messages] == ["user", "system"]
    assert messages[0]["content"] == "Score the answer {{sample.output_text}}."
    page.get_by_role("button", name="JSON", exact=True).click()
    expect(page.locator(".cm-content")).to_contain_text("score_model")
    expect(page.get_by_label("Message 1", exact=True)).to_be_hidden()


def test_an_editor_offers_the_fields_of_rows_and_wraps_lines(page: Page) -> None:
    sign_up(page)
    create(page, {**MULTI["graders"]["exact"], "name": "alone"})  # type: ignore[index]
    expect(page.locator(".cm-lineWrapping")).to_be_visible()
    page.locator(".cm-content").click()
    page.keyboard.press("Control+End")
    page.keyboard.type("{{item.")
    expect(page.locator(".cm-tooltip-autocomplete")).to_contain_text("reference")
    page.keyboard.press("Escape")
    page.keyboard.type("x {{sample.")
    expect(page.locator(".cm-tooltip-autocomplete")).to_contain_text("output_json")
