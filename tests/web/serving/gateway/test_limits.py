"""The requests a minute of a key, of which the gateway counts a block at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from webapp.core.api.errors import ApiError
from webapp.keys.limits import reserve_requests
from webapp.keys.models import ApiKey
from webapp.serving.gateway.limits import count_request

LIMIT = 130  # blocks of two


@pytest.fixture(autouse=True)
def limit(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.API_REQUESTS_PER_MINUTE = LIMIT
    monkeypatch.setattr("webapp.keys.limits.time.time", lambda: 6018.0)


async def count_allowed(key: ApiKey) -> int:
    """Ask twice as often as is allowed; return how often it was."""
    refused = 0
    for _ in range(2 * LIMIT):
        try:
            await count_request(key)
        except ApiError:
            refused += 1
    return 2 * LIMIT - refused


def test_a_key_sends_as_many_requests_a_minute_as_its_limit_and_then_waits() -> None:
    assert asyncio.run(count_allowed(ApiKey(pk=-1))) == LIMIT


def test_processes_together_let_no_more_requests_of_a_key_through_than_its_limit() -> None:
    key = ApiKey(pk=-2)
    elsewhere = sum(reserve_requests(key, 7) for _ in range(9))  # another process
    assert elsewhere + asyncio.run(count_allowed(key)) == LIMIT
    with pytest.raises(ApiError) as refusal:
        reserve_requests(key, 7)
    assert (refusal.value.status, refusal.value.retry_after) == (429, 42)


def test_the_next_minute_begins_with_the_whole_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    key = ApiKey(pk=-3)
    asyncio.run(count_request(key))  # and one is left over
    monkeypatch.setattr("webapp.keys.limits.time.time", lambda: 6078.0)
    assert asyncio.run(count_allowed(key)) == LIMIT


async def count_at_once(key: ApiKey) -> None:
    """Send the key's whole limit at the same time."""
    await asyncio.gather(*(count_request(key) for _ in range(LIMIT)))


def test_requests_that_come_at_once_use_no_more_than_they_are() -> None:
    asyncio.run(count_at_once(ApiKey(pk=-4)))
