"""The shell by keyboard: palette, shortcut sheet, account page, menus; the styleguide in both themes."""

from __future__ import annotations

import re
from datetime import timedelta

from axe_playwright_python.sync_playwright import Axe
from django.db import transaction
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.e2e.graders.test_graders import sign_up
from tests.web.comparison import finished_job
from webapp.jobs.job_events import add_event
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.models import User

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def assert_no_barriers(page: Page) -> None:
    found = Axe().run(page, options={"runOnly": WCAG})
    assert found.violations_count == 0, f"{page.url}\n{found.generate_report()}"


def arrive(page: Page) -> None:
    """Sign up and open the graders page, with its scripts loaded."""
    sign_up(page)
    page.wait_for_url("**/graders/")
    page.wait_for_load_state()


def go_by_palette(page: Page) -> None:
    """Go to the workers page and to a search result by keyboard."""
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Go to")
    expect(field).to_be_focused()
    expect(page.locator("#palette-results").get_by_role("option", name="Launch a job")).to_be_visible()
    assert_no_barriers(page)
    page.keyboard.type("gpus")
    expect(page.locator("#palette-results").get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Workers")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("/")
    page.keyboard.type("sample")
    expect(page.locator("#palette-results").get_by_role("option", name="Sample").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/(datasets|graders)/.+"))
    page.wait_for_load_state()


def read_the_shortcuts(page: Page) -> None:
    """``?`` opens the sheet, Escape closes it, and g j goes to the jobs."""
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(sheet).to_contain_text("Next row")
    assert_no_barriers(page)
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page.get_by_role("heading", level=1, name="Jobs")).to_be_visible()


def turn_single_keys_off(page: Page) -> None:
    """The account page announces it, and then only Ctrl K works."""
    page.goto("/account/")
    page.get_by_label("Single-key shortcuts").uncheck()
    page.get_by_label("Show a browser notification").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#toasts")).to_contain_text("Settings saved.")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("[data-toast]")).to_have_count(0)
    assert_no_barriers(page)
    page.goto("/")
    page.locator("body").press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog", name="Command palette")).to_be_visible()
    page.keyboard.press("Escape")


def use_a_small_screen(page: Page) -> None:
    """The sidebar is a popover: opened by its button, closed by Escape."""
    page.set_viewport_size({"width": 390, "height": 844})
    link = page.get_by_role("navigation", name="Team").get_by_role("link", name="Datasets")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").press("Enter")
    expect(link).to_be_visible()
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").press("Enter")
    page.get_by_label(re.compile("^Account: ")).click()
    page.get_by_role("button", name="Light or dark").click()
    link.click()
    expect(page.get_by_role("heading", level=1, name="Datasets")).to_be_visible()
    expect(page.locator("relative-time").first).to_have_attribute("title", re.compile(r"\d{4}, \d\d:\d\d"))


def see_the_styleguide(page: Page) -> None:
    """Every component, in both themes, wide and narrow."""
    User.objects.update(is_staff=True)
    for width in (1440, 390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
            page.goto("/styleguide/")
            assert page.evaluate("document.documentElement.dataset.theme") == theme
            assert_no_barriers(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, theme)


def test_the_shell_by_keyboard(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    arrive(page)
    go_by_palette(page)
    read_the_shortcuts(page)
    turn_single_keys_off(page)
    use_a_small_screen(page)
    see_the_styleguide(page)


def test_refreshing_a_page_keeps_focus_and_open_dialogs(page: Page) -> None:
    """Automatic refreshes change neither the focus nor an open dialog."""
    arrive(page)
    dana = User.objects.get()
    job = finished_job(dana.teams.get(), dana, "Invoices")
    running = {"state": State.RUNNING, "attempt": 1, "lease_until": timezone.now() + timedelta(hours=1)}
    Job.objects.filter(pk=job.pk).update(**running)
    page.goto(job.get_absolute_url())
    expect(page.locator("[data-live-status]")).to_have_text("Live")
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.get_by_role("button", name="Keep it")).to_be_visible()
    page.get_by_role("button", name="Keep it").focus()
    with transaction.atomic():
        Job.objects.filter(pk=job.pk).update(name="Invoices, renamed", phase="train", step=3, total_steps=9)
        add_event(job.pk, 1, "phase", {"phase": "train"})
        add_event(job.pk, 1, "state", {"state": "running"})
    expect(page.locator("[aria-current=step]")).to_contain_text("train", ignore_case=True)
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    expect(page.locator("[data-live-status]")).to_have_text("Live")


PUSHED_FILTER = """() => {
  const link = document.createElement("a");
  const attributes = {
    "hx-get": location.pathname + "?state=failed", "hx-target": "#main", "hx-select": "#main",
    "hx-swap": "outerHTML show:window:top", "hx-push-url": "true",
  };
  Object.entries(attributes).forEach((each) => link.setAttribute(...each));
  document.body.append(link);
  htmx.process(link);
  link.click();
}"""


def test_back_restores_the_filter_and_the_scroll_position(page: Page) -> None:
    arrive(page)
    dana = User.objects.get()
    for number in range(30):
        finished_job(dana.teams.get(), dana, f"Job {number}")
    page.goto(f"{dana.teams.get().get_absolute_url()}jobs/?state=succeeded")
    page.evaluate("scrollTo(0, 700)")
    page.evaluate(PUSHED_FILTER)
    page.wait_for_url("**/jobs/?state=failed")
    expect(page.locator("[data-row]")).to_have_count(0)
    page.go_back()
    expect(page.locator("[data-row]").first).to_be_visible()
    page.wait_for_function("scrollY === 700")
