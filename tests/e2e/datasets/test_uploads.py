"""Uploads in a real browser: a reload in the middle of a large file, and a new version of a dataset."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page, Request, Route, expect

from tests.e2e.site.test_every_page import sign_in
from webapp.datasets.models import Dataset, Transfer
from webapp.datasets.uploads.transfers import PART_BYTES
from webapp.teams.models import Team, User

ROWS = 20_000


def write(folder: Path) -> Path:
    """Write a file of more than two parts."""
    file = folder / "orders.jsonl"
    rows = ({"messages": [{"role": "user", "content": f"Order {n} " + "x" * 900}]} for n in range(ROWS))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert file.stat().st_size > 2 * PART_BYTES
    return file


def test_a_large_upload_survives_a_reload(
    page: Page, site: str, team: Team, alice: User, tmp_path: Path
) -> None:
    file = write(tmp_path)
    sign_in(page, site, alice)
    sent: list[Request] = []

    def first_part_only(route: Route) -> None:
        sent.append(route.request)
        route.continue_() if len(sent) == 1 else route.abort("internetdisconnected")

    def choose() -> None:
        page.get_by_label("File").set_input_files(file)
        page.get_by_role("button", name="Upload and check").click()

    page.route("**/transfers/transfer_*/", lambda route: (
        first_part_only(route) if route.request.method == "PATCH" else route.continue_()
    ))  # fmt: skip
    page.goto(f"/t/{team.slug}/datasets/new/")
    choose()
    expect(page.locator("[data-upload-status]")).to_contain_text("The sent part is saved")
    while len(sent) < 2:
        page.wait_for_timeout(50)
    page.goto("about:blank")
    page.unroute_all(behavior="ignoreErrors")
    page.goto(f"/t/{team.slug}/datasets/new/")
    expect(page.get_by_text("Choose the same file below to continue")).to_be_visible()
    assert Transfer.objects.get().received == PART_BYTES
    with page.expect_request(lambda request: request.method == "PATCH") as resumed:
        choose()
    assert resumed.value.headers["upload-offset"] == str(PART_BYTES)
    expect(page.get_by_text(f"{ROWS:,}").first).to_be_visible(timeout=60_000)
    assert not Transfer.objects.exists()


def test_a_new_version_is_uploaded(page: Page, site: str, team: Team, alice: User, tmp_path: Path) -> None:
    """The form's hidden field "dataset" hid the form's own dataset from its script, and the page hung."""
    dataset = Dataset.objects.create(team=team, name="Orders", created_by=alice)
    file = tmp_path / "orders.jsonl"
    rows = ({"messages": [{"role": "user", "content": f"Order {n}"}]} for n in range(40))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sign_in(page, site, alice)
    page.goto(f"/t/{team.slug}/datasets/{dataset.uid}/")
    page.get_by_role("link", name="New version").click()
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Upload and check").click()
    page.get_by_role("button", name="Add version").click()
    expect(page.get_by_role("heading", name="Orders v1")).to_be_visible()
    assert Dataset.objects.get().versions.get().rows == 40


NOTE_TEXTS = """addEventListener("DOMContentLoaded", () => {
  const note = () => (sessionStorage.seen = `${sessionStorage.seen ?? ""}${document.body.innerText}`);
  new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true });
})"""


def test_a_waiting_page_shows_how_many_rows_are_done(
    page: Page, site: str, team: Team, alice: User, tmp_path: Path
) -> None:
    """While the file is checked and while its version is written. What it shows is noted: it cannot be read
    while the browser waits for the next page."""
    file = tmp_path / "orders.jsonl"
    rows = ({"messages": [{"role": "user", "content": f"Order {n}"}]} for n in range(40))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sign_in(page, site, alice)
    page.add_init_script(NOTE_TEXTS)
    held: list[Route] = []  # playwright takes no builtin such as held.append
    page.route("**/transfers/*/progress/", lambda route: route.fulfill(body="12,000 rows checked"))
    page.route("**/uploads/*/progress/", lambda route: route.fulfill(body="9,000 rows written"))
    page.route("**/finish/", lambda route: held.append(route))
    page.goto(f"/t/{team.slug}/datasets/new/")
    page.get_by_label("File").set_input_files(file)
    with page.expect_response("**/progress/"):
        page.get_by_role("button", name="Upload and check").click(no_wait_after=True)
    held.pop().continue_()
    create = page.get_by_role("button", name="Create dataset")
    expect(create).to_be_visible()
    page.route("**/uploads/upload_*/", lambda route: held.append(route))
    with page.expect_response("**/progress/"):
        create.click(no_wait_after=True)
    held.pop().continue_()
    expect(page.get_by_role("heading", name="orders v1")).to_be_visible()
    seen = page.evaluate("sessionStorage.seen")
    assert "12,000 rows checked" in seen
    assert "9,000 rows written" in seen
