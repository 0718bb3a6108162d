"""The API's reference in a browser: this site serves all of it, under its own policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.conftest import free_port, until_up


def test_the_reference_needs_no_other_host_and_breaks_no_policy(
    page: Page, start: Callable[..., Any]
) -> None:
    port = free_port()
    start("uvicorn", "webapp.config.asgi:application", "--port", str(port), "--lifespan", "off")
    site = until_up(f"http://127.0.0.1:{port}")
    requested: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{site}/docs/api/reference/")
    expect(page.locator("#swagger-ui .title")).to_contain_text("Groove API")
    page.wait_for_load_state("networkidle")
    assert {url for url in requested if not url.startswith((site, "data:"))} == set()
    assert problems == []
