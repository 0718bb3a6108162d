"""Scripts that run on every page."""

from __future__ import annotations

from playwright.sync_api import Page, Route, expect

from tests.e2e.site.test_every_page import sign_in
from webapp.teams.models import Team, User

TWICE = """async button => {
  button.click();
  await new Promise(done => setTimeout(done, 300));
  button.click();
  return button.getAttribute("aria-busy");
}"""
OUTDATED = """() => {
  const button = document.createElement("button");
  button.setAttribute("hx-get", location.pathname);
  button.setAttribute("hx-target", "#gone");
  document.body.append(button);
  htmx.process(button);
  button.click();
}"""


def test_a_double_click_sends_a_form_once(page: Page, site: str, team: Team, alice: User) -> None:
    sign_in(page, site, alice)
    page.goto("/teams/new/")
    sent: list[Route] = []
    page.route("**/teams/new/", lambda route: sent.append(route))
    page.get_by_label("Name").fill("Second")
    create = page.get_by_role("button", name="Create team")
    assert create.evaluate(TWICE) == "true"
    page.wait_for_timeout(300)
    assert len(sent) == 1
    sent[0].continue_()
    page.wait_for_url("**/t/second*/")
    page.unroute("**/teams/new/")
    page.go_back()
    page.get_by_label("Name").fill("Third")
    page.get_by_role("button", name="Create team").click()
    page.wait_for_url("**/t/third*/")


def test_a_response_without_a_target_is_shown_as_a_toast(
    page: Page, site: str, team: Team, alice: User
) -> None:
    sign_in(page, site, alice)
    page.goto(team.get_absolute_url())
    page.evaluate(OUTDATED)
    expect(page.locator("#toasts")).to_contain_text("This page is out of date. Reload it")


def test_an_ended_session_leads_to_sign_in(page: Page, site: str, team: Team, alice: User) -> None:
    sign_in(page, site, alice)
    page.goto(team.get_absolute_url())
    page.context.clear_cookies()
    page.keyboard.press("Control+k")
    page.wait_for_url(f"**/accounts/login/?next=%2Ft%2F{team.slug}%2F")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
