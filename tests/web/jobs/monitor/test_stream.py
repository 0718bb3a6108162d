"""The live stream loses no point, however often the reader reconnects."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from tests.web.jobs.test_services import job, metrics, running
from webapp.jobs import recording, services
from webapp.jobs.live import stream
from webapp.jobs.models import Job
from webapp.teams.models import Team, User

__all__ = ["job", "running"]
Event = tuple[int, str, dict[str, Any]]


def parse(text: str) -> Event | None:
    fields = dict(line.split(": ", 1) for line in text.strip().splitlines() if not line.startswith(":"))
    return (int(fields["id"]), fields["event"], json.loads(fields["data"])) if "event" in fields else None


async def read(job: Job, cursor: int, until: int) -> list[Event]:
    """Read events after ``cursor`` up to the step ``until`` or the job's end."""
    found: list[Event] = []
    async for text in stream.stream_events(job.pk, cursor):
        if event := parse(text):
            found.append(event)
            points = event[2].get("points", [])
            if event[1] == "end" or any(point["step"] == until for point in points):
                break
    return found


def steps(events: list[Event]) -> list[int]:
    return [point["step"] for _, kind, data in events if kind == "metrics" for point in data["points"]]


@pytest.mark.django_db(transaction=True)
def test_a_reader_that_reconnects_gets_every_step_once(running: Job, settings: Any) -> None:
    from django.db import connection

    from webapp.config.env import replace_database

    settings.DATABASE_URL = replace_database(settings.DATABASE_URL, connection.settings_dict["NAME"])

    async def story() -> tuple[list[Event], list[Event]]:
        record = sync_to_async(recording.record_events)
        await record(running.pk, running.attempt, [metrics(1)])
        first = asyncio.create_task(read(running, 0, until=2))
        await asyncio.sleep(0.5)
        await record(running.pk, running.attempt, [metrics(2)])
        seen = await asyncio.wait_for(first, 10)
        await record(running.pk, running.attempt, [metrics(3), metrics(4)])
        await sync_to_async(services.request_cancel)(running, None)
        return seen, await asyncio.wait_for(read(running, seen[-1][0], until=-1), 10)

    seen, rest = asyncio.run(story())
    assert steps(seen) + steps(rest) == [1, 2, 3, 4]
    assert rest[-1][1] == "end"


@pytest.mark.django_db(transaction=True)
def test_a_stranger_gets_no_stream(running: Job, team: Team, charlie: User, alice: User) -> None:
    async def answer(user: User) -> int:
        client = AsyncClient()
        await client.aforce_login(user)
        response = await client.get(f"/t/{team.slug}/jobs/{running.uid}/stream/")
        return int(response.status_code)

    assert asyncio.run(answer(charlie)) == 404
    assert asyncio.run(answer(alice)) == 200
