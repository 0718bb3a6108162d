"""A real browser, with console errors that fail the test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import Process, build_environment, run_processes, serve_web
from tests.e2e.browser import ARGUMENTS, executable

os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright keeps an event loop in the test's thread
PATIENCE_MS = 40_000
IDLE_SECONDS = 30
expect.set_options(timeout=PATIENCE_MS)  # what is waited for comes late on a crowded machine
# A form with mistakes, a question before a download, a stream that its page left, a test that goes offline,
# takes the server away, or makes an element that htmx has no place for.
EXPECTED = (
    *("422", "409", "ERR_INCOMPLETE_CHUNKED_ENCODING"),
    *("ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION_REFUSED"),
    *("htmx:targetError", "htmx:sendError"),
    *("htmx:sendAbort", "htmx:afterRequest"),  # a fragment that was being refreshed when its page was left
)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for these tests only: its event loop would stand in the way of async tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shared_web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one web process for these tests. It keeps nothing between requests."""
    with run_processes(build_environment(tmp_path_factory.mktemp("web"))) as start:
        yield serve_web(start)


@pytest.fixture
def site(shared_web: str, transactional_db: None) -> Iterator[str]:
    """The address of the site, without a worker. The database is emptied once no request is at work."""
    yield shared_web
    end = time.monotonic() + IDLE_SECONDS
    while count_busy_connections():
        assert time.monotonic() < end, "a request did not end after its test"
        time.sleep(0.05)


def count_busy_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        return int(cursor.fetchone()[0])


@pytest.fixture
def live(site: str, start_worker: Callable[..., Process]) -> str:
    """The address of the site, with a worker and a beat."""
    start_worker()
    return site


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """A fresh page at the site."""
    context = browser.new_context(base_url=site, viewport={"width": 1280, "height": 900})
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
