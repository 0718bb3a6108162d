"""Every form of the templates, and how a person submits one in a browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.urls import Resolver404, resolve
from playwright.sync_api import ElementHandle, Error, Locator, Page, Response, expect

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
# Components are listed where they are used; the style guide shows samples that lead nowhere.
SAMPLES = ("components/", "allauth/", "styleguide.html")
CHANGE_S = 20
# Template tags may hold what would end an element or its attribute.
TEMPLATE_TAG = r"\{%.*?%\}|\{\{.*?\}\}"
TAG = re.compile(rf"<(?:form|c-confirm|c-undo|c-restore|c-filter-bar)\b(?:{TEMPLATE_TAG}|[^>])*>", re.DOTALL)
SENDS = r"formaction|hx-(?:post|put|patch|delete)"
VALUE = rf'="((?:{TEMPLATE_TAG}|[^"])*)"'
SENDER = re.compile(rf"(?<![-\w])(?:{SENDS}){VALUE}", re.DOTALL)
ACTION = re.compile(rf"(?<![-\w])(?:action|{SENDS}){VALUE}", re.DOTALL)
NAMED = re.compile(r"\{% url ['\"]([\w:]+)['\"]")


def list_forms() -> set[str]:
    """A form is called by the name of the URL that its action names, or else by its template.

    The second form without a named URL in ``a.html`` is ``a.html 2``.
    """
    files = {path.relative_to(TEMPLATES).as_posix(): path for path in TEMPLATES.rglob("*.html")}
    return {
        form
        for name, path in files.items()
        if not name.startswith(SAMPLES)
        for form in _forms_of(name, path.read_text(encoding="utf-8"))
    }


def _forms_of(template: str, text: str) -> Iterator[str]:
    unnamed = 0
    actions = [ACTION.findall(tag[0]) for tag in TAG.finditer(text)]
    actions += [[action] for action in SENDER.findall(TAG.sub("", text))]
    for each in actions:
        if names := [name for action in each if (name := _url_name(action, text))]:
            yield names[0]
        else:
            unnamed += 1
            yield template if unnamed == 1 else f"{template} {unnamed}"


def _url_name(action: str, text: str) -> str:
    """The URL name in an action, also where ``{% url … as variable %}`` stands before it."""
    if variable := re.match(r"\{\{ (\w+) \}\}", action):
        found = re.search(r"\{% url ['\"]([\w:]+)['\"][^%]* as " + variable[1] + r" %\}", text)
    else:
        found = NAMED.search(action)
    return found[1] if found else ""


@dataclass(frozen=True)
class Step:
    """One form, submitted once.

    ``at`` is the name of a team's page, or a path with the walk's objects in braces; without it the page
    of the step before. ``within`` is a part of the form's URL, ``press`` the name of its button, ``place``
    its position among those that are sent to one URL. ``shows`` is what the answer has to say.
    """

    form: str
    at: str = ""
    fill: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, str] = field(default_factory=dict)
    within: str = ""
    press: str = ""
    place: int = 0
    status: int = 200
    shows: str = ""
    once: bool = False


BUTTONS = """() => {
  const action = Object.getOwnPropertyDescriptor(HTMLFormElement.prototype, "action").get;
  return [...document.querySelectorAll("button")].map((button, index) => ({ button, index }))
    .filter(({ button: each }) => each.form && each.type === "submit" && each.tabIndex >= 0)
    .filter(({ button: each }) => !each.closest("#palette"))
    .map(({ button, index }) => ({
      index, name: button.name, form: [...document.forms].indexOf(button.form),
      method: Object.getOwnPropertyDescriptor(HTMLFormElement.prototype, "method").get.call(button.form),
      action: button.hasAttribute("formaction") ? button.formAction : action.call(button.form),
    }));
}"""
MARK_OPENERS = """button => {
  const openers = [];
  for (let each = button.parentElement; each; each = each.parentElement) {
    if (each.matches("details:not([open])")) openers.unshift(each.querySelector("summary"));
    if (!each.matches("[popover]")) continue;
    openers.unshift(document.querySelector(`[commandfor="${CSS.escape(each.id)}"]`));
  }
  openers.forEach((each, index) => (each.dataset.opens = index));
  return openers.length;
}"""
FIELD = """(button, [name, value]) => [...button.form.elements].find((each) =>
  each.name === name && each.type !== "hidden" &&
  (!["checkbox", "radio"].includes(each.type) || each.value === value))"""
CAN_BE_SENT = "button => button.form.noValidate || button.formNoValidate || button.form.checkValidity()"
SEEN = "() => `${location.href}\\n${document.body.innerText}`"


def view_of(url: str) -> str:
    """The name of a URL's pattern."""
    try:
        return resolve(urlsplit(url).path).view_name
    except Resolver404:
        return ""


def find_button(page: Page, step: Step) -> dict[str, Any] | None:
    """The button that sends the step's form."""
    target = view_of(page.url) if ".html" in step.form else step.form
    found = [
        button
        for button in page.evaluate(BUTTONS)
        if view_of(button["action"]) == target
        and step.within in button["action"]
        and step.press in ("", button["name"])
    ]
    forms = list(dict.fromkeys(button["form"] for button in found))
    if step.place >= len(forms):
        return None
    return next(button for button in found if button["form"] == forms[step.place])


def submit(page: Page, step: Step) -> None:
    """Open what hides the form, fill it in, send it, and see that something happened."""
    found = find_button(page, step)
    assert found, f"no form {step.form} on {page.url}"
    button = page.locator("button").nth(found["index"])
    for opener in range(button.evaluate(MARK_OPENERS)):
        page.locator(f"[data-opens='{opener}']").click()
    for name, value in step.fill.items():
        _fill(button, name, value)
    assert button.evaluate(CAN_BE_SENT), f"{step.form} on {page.url} lacks a value"
    before = page.evaluate(SEEN)
    target, method = view_of(found["action"]), found["method"].upper()

    def answers(response: Response) -> bool:
        return response.request.method == method and view_of(response.url) == target

    with page.expect_response(answers) as response:
        button.click()
    assert response.value.status in {step.status, 302}, f"{step.form}: {response.value.status}"
    _wait_for_change(page, step, before)
    if step.shows:
        expect(page.locator("body")).to_contain_text(step.shows)
    _check_that_it_can_be_sent_again(page, step)


def _fill(button: Locator, name: str, value: str) -> None:
    handle = button.evaluate_handle(FIELD, [name, value]).as_element()
    assert isinstance(handle, ElementHandle), f"no field {name!r} on {button.page.url}"
    if handle.evaluate("each => each.matches('select')"):
        handle.select_option(value)
    elif handle.evaluate("each => each.matches('[type=checkbox], [type=radio]')"):
        handle.check()
    else:
        handle.fill(value)


def _wait_for_change(page: Page, step: Step, before: str) -> None:
    end = time.monotonic() + CHANGE_S
    while time.monotonic() < end:
        try:
            page.wait_for_load_state()
            if page.evaluate(SEEN) != before:
                return
        except Error:  # the old page went away meanwhile
            pass
        page.wait_for_timeout(50)
    raise AssertionError(f"{step.form}: nothing on {page.url} changed")


def _check_that_it_can_be_sent_again(page: Page, step: Step) -> None:
    expect(page.locator("button[aria-busy=true]")).to_have_count(0)
    if not step.once and (again := find_button(page, step)):
        expect(page.locator("button").nth(again["index"])).to_be_enabled()
