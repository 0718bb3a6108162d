"""Every page in a browser: accessible in both themes, fits a phone, works by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Page, expect

from tests.e2e.graders.test_graders import sign_up
from tests.e2e.site.test_shell import WCAG
from tests.web.site.test_tenancy import ADDRESSES, Objects, objects  # noqa: F401 -- a fixture
from webapp.jobs.models import Job
from webapp.seeding.seed import Sizes, seed
from webapp.teams.models import Team, User

SMALL = Sizes(jobs=8, points=6_000, rollouts=800)
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 320, "height": 844}
TO_DARK = """
document.documentElement.dataset.theme = "dark";
for (let fades; (fades = document.getAnimations()).length; ) fades.forEach(fade => fade.cancel());
"""
# Charts shrink a frame or more after the window has.
TOO_WIDE = """async () => {
  for (let frame = 0; frame < 60; frame++) {
    if (document.documentElement.scrollWidth <= innerWidth) return false;
    await new Promise(requestAnimationFrame);
  }
  return true;
}"""


def sign_in(page: Page, site: str, user: User) -> None:
    """Sign in with the cookie of a session."""
    client = Client()
    client.force_login(user)
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site}])


def paths(page: Page, team: Team, named: Objects) -> Iterator[str]:
    """Yield the URLs that respond with a page."""
    yield from ("/account/", "/accounts/password/change/", "/accounts/email/", "/teams/new/")
    for address in ADDRESSES:
        path = address.url(team.slug, named)
        if address.name == "jobs:stream":
            continue
        answer = page.request.get(path, max_redirects=0)
        assert answer.status < 500, path
        if (
            answer.status == 200
            and "text/html" in answer.headers["content-type"]
            and "<body" in answer.text()
        ):
            yield path


def violations(page: Page, rules: list[str]) -> list[Any]:
    found = Axe().run(page, options={"runOnly": rules})
    return [
        (each["id"], [node["html"][:160] for node in each["nodes"][:3]])
        for each in found.response["violations"]
    ]


def look_at(page: Page, path: str) -> dict[str, Any]:
    """Return the problems of a page. In the dark theme only colours are checked."""
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(path)
    wrong: dict[str, Any] = {"light": violations(page, WCAG)}
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.evaluate(TO_DARK)
    wrong["dark"] = violations(page, ["color-contrast"])
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    wrong["too wide for a phone"] = page.evaluate(TOO_WIDE)
    return {kind: found for kind, found in wrong.items() if found}


def test_every_page_is_accessible(page: Page, site: str, team: Team, alice: User, objects: Objects) -> None:  # noqa: F811
    job = seed(team, alice, SMALL)
    owned: Objects = objects | {
        "jobs": objects["jobs"] | {"uid": job.uid},
        **{name: objects[name] | {"uid": job.uid} for name in ("evaluations", "retention")},
    }
    sign_in(page, site, alice)
    wrong = {path: found for path in paths(page, team, owned) if (found := look_at(page, path))}
    assert wrong == {}


# --- keyboard alone --------------------------------------------------------------------------------


def tab_to(page: Page, name: str, most: int = 120) -> None:
    """Press Tab until the focus is on the element with this accessible name."""
    for _ in range(most):
        page.keyboard.press("Tab")
        said = page.evaluate(
            "() => { const e = document.activeElement; return e.getAttribute('aria-label') || "
            "(e.labels && e.labels[0] && e.labels[0].innerText) || e.innerText || ''; }"
        )
        if said.strip().startswith(name):
            return
    pytest.fail(f"{most} tabs on {page.url} did not reach {name!r}")


def test_keyboard_alone_goes_from_sign_in_to_download(page: Page) -> None:
    sign_up(page)
    user = User.objects.get()
    job: Job = seed(user.teams.get(), user, SMALL)
    page.context.clear_cookies()
    page.goto("/accounts/login/")
    tab_to(page, "Email")
    page.keyboard.type(user.email)
    tab_to(page, "Password")
    page.keyboard.type("a long enough phrase")
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile("login"))
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page.get_by_role("heading", level=1, name="Jobs")).to_be_visible()
    tab_to(page, job.name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name=job.name)).to_be_visible()
    tab_to(page, "View model")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/models/model_"))
    tab_to(page, "Download")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".zip")
