"""Waiting times in a real browser, with the full-size database behind the real server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from tests.bench.full import SEEDED, full_site
from tests.bench.result import Result
from tests.bench.scale import sized

DRAWINGS, WATCHERS, STEPS = sized((7, 200, 10), (1, 4, 2))
SETTLED_MS = 1500
PATIENCE = 30.0
# The last stroke on any canvas, in the page's own clock and in everybody's.
STROKES = """
  const stroke = CanvasRenderingContext2D.prototype.stroke;
  CanvasRenderingContext2D.prototype.stroke = function (...given) {
    const result = stroke.apply(this, given);
    window.lastStroke = performance.now();
    return result;
  };
"""
DRAWN = """() => {
  const data = performance.getEntriesByType("resource").filter((each) => each.name.includes("/metrics/"));
  return window.lastStroke - data.at(-1).responseEnd;
}"""


@contextmanager
def _served() -> Iterator[tuple[str, Any, str]]:
    """The site's address, the newest job, and the cookie of a session."""
    with full_site() as job:
        from django.test import Client

        from webapp.teams.models import User

        client = Client()
        client.force_login(User.objects.get(email=SEEDED))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        arguments = ["webapp.config.asgi:application", "--port", str(port), "--lifespan", "off"]
        server = subprocess.Popen([sys.executable, "-m", "uvicorn", *arguments, "--log-level", "error"])
        try:
            _wait_for(f"http://127.0.0.1:{port}/healthz")
            yield f"http://127.0.0.1:{port}", job, client.cookies["sessionid"].value
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(address: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(address)
        except OSError:
            assert time.monotonic() < end, "the web process did not answer"
            time.sleep(0.1)
        else:
            return


@contextmanager
def _page(site: str, session: str) -> Any:
    from playwright.sync_api import sync_playwright

    from tests.e2e.browser import ARGUMENTS, executable

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright keeps an event loop in this thread
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        context = browser.new_context(base_url=site, viewport={"width": 1440, "height": 900})
        context.add_cookies([{"name": "sessionid", "value": session, "url": site}])
        context.add_init_script(STROKES)
        yield context.new_page()
        browser.close()


def chart_draw() -> Result:
    """Time from the last byte of 20 series of 10,000 steps to the finished chart on the job's page."""
    with _served() as (site, job, session), _page(site, session) as page:
        runs = []
        for _ in range(DRAWINGS):
            page.goto(job.get_absolute_url())
            page.locator("canvas").first.wait_for()
            page.wait_for_timeout(SETTLED_MS)
            runs.append(round(page.evaluate(DRAWN), 1))
    return Result(
        benchmark="chart_draw",
        value=median(runs),
        unit="milliseconds from the arrival of 20 series x 10,000 steps to the last stroke",
        goal=100.0,
        runs=runs,
        note="Chromium without a GPU; the server sends at most 2,000 points a series",
    )


# --- live ------------------------------------------------------------------------------------------


def metric_latency() -> Result:
    """Time from the engine's step to the last of 200 open pages that shows it."""
    with _served() as (site, job, session):
        running = _running_job(job)
        cursor = running.events.order_by("-pk").values_list("pk", flat=True).first() or 0
        path = f"{running.get_absolute_url()}stream/?after={cursor}"
        try:
            runs = asyncio.run(_watched(site, path, session, running.pk))
        finally:
            running.delete()
    return Result(
        benchmark="metric_latency",
        value=round(median(runs), 3),
        unit=f"seconds from a step's report to the last of {WATCHERS} streams that has it",
        goal=1.0,
        runs=[round(run, 3) for run in runs],
        note="through record_events, PostgreSQL's NOTIFY and one web process",
    )


def _running_job(like: Any) -> Any:
    from datetime import timedelta

    from django.utils import timezone

    from webapp.jobs.models import Job
    from webapp.jobs.states import State

    kept = {name: getattr(like, name) for name in (
        "team", "base_model", "dataset_version", "grader_version", "settings",
    )}  # fmt: skip
    lease = timezone.now() + timedelta(hours=1)
    return Job.objects.create(
        **kept, name="Watched", state=State.RUNNING, attempt=1, total_steps=STEPS, lease_until=lease
    )


async def _watched(site: str, path: str, session: str, job_id: int) -> list[float]:
    """Report steps, each when all have had the last one."""
    host, port = site.removeprefix("http://").split(":")
    inbox: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
    watchers = [asyncio.create_task(_watch(host, int(port), path, session, inbox)) for _ in range(WATCHERS)]
    await asyncio.sleep(sized(5, 1))
    runs = []
    for step in range(1, STEPS + 1):
        began = time.monotonic()
        await asyncio.to_thread(_report, job_id, step)
        got = [await asyncio.wait_for(inbox.get(), PATIENCE) for _ in range(WATCHERS)]
        assert {each for each, _ in got} == {step}
        runs.append(max(at for _, at in got) - began)
    for watcher in watchers:
        watcher.cancel()
    return runs


async def _watch(host: str, port: int, path: str, session: str, inbox: Any) -> None:
    """One open page: tells the inbox each step that arrives, and when."""
    reader, writer = await asyncio.open_connection(host, port)
    head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: sessionid={session}\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    seen = 0
    while line := await reader.readline():
        if line.startswith(b"event: metrics"):
            seen += 1
            inbox.put_nowait((seen, time.monotonic()))


def _report(job_id: int, step: int) -> None:
    from django.db import connection

    from webapp.jobs.recording import record_events
    from workers.contract.events import MetricsEvent

    values = {"reward": step / STEPS, "kl": 0.01}
    event = MetricsEvent(step=step, total_steps=STEPS, values=values)
    assert record_events(job_id, 1, [event]), "the job is not running"
    connection.close()
