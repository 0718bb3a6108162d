"""A real browser, with console errors that fail the test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.browser import ARGUMENTS, executable

os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright keeps an event loop in the test's thread
PATIENCE_MS = 40_000
expect.set_options(timeout=PATIENCE_MS)  # what is waited for comes late on a crowded machine
# A form with mistakes, a question before a download, a stream that its page left, a test that goes offline,
# takes the server away, or makes an element that htmx has no place for.
EXPECTED = (
    *("422", "409", "ERR_INCOMPLETE_CHUNKED_ENCODING"),
    *("ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION_REFUSED"),
    *("htmx:targetError", "htmx:sendError"),
    *("htmx:sendAbort", "htmx:afterRequest"),  # a fragment that was being refreshed when its page was left
)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser for one test: while it is open its event loop would stand in the way of async tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, live: str) -> Iterator[Page]:
    """A fresh page at the live site."""
    context = browser.new_context(base_url=live, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: (
            problems.append(f"{message.text} {message.location.get('url')} on {page.url}")
            if message.type == "error"
            else None
        ),
    )
    yield page
    context.close()
    real = [text for text in problems if not any(known in text for known in EXPECTED)]
    assert not real, f"the browser complained: {real}"
