"""What the gateway remembers for a second: shared, renewed while it is used, never older."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from webapp.serving.gateway import recent
from webapp.serving.gateway.recent import Recent


class Source:
    """A value that can be read, and that counts its readings."""

    def __init__(self) -> None:
        self.value, self.readings = "works", 0
        self.open = asyncio.Event()
        self.open.set()

    async def read(self) -> str:
        self.readings += 1
        value = self.value
        await self.open.wait()
        if value == "revoked":
            raise PermissionError
        return value


@pytest.fixture
def run(settings: Any) -> Callable[[Coroutine[Any, Any, None]], None]:
    settings.SERVE_THREADS = 1
    return asyncio.run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The clock of what is remembered; ``clock.now`` sets it."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(recent, "time", clock)
    return clock


def test_requests_at_once_share_one_reading(run: Any, clock: Any) -> None:
    async def check() -> None:
        source, values = Source(), Recent[str, str](1)
        found = await asyncio.gather(*(values.find("key", source.read) for _ in range(50)))
        assert (set(found), source.readings) == ({"works"}, 1)

    run(check())


def test_a_revoked_key_stops_within_a_second_and_a_used_one_is_read_ahead(run: Any, clock: Any) -> None:
    async def check() -> None:
        source, values = Source(), Recent[str, str](1)
        await values.find("key", source.read)
        clock.now += 0.4
        assert (await values.find("key", source.read), source.readings) == ("works", 1)
        source.value = "revoked"
        clock.now += 0.3  # a request gets what is known, and has it read again
        assert (await values.find("key", source.read), source.readings) == ("works", 1)
        await asyncio.sleep(0.01)
        with pytest.raises(PermissionError):  # also the one after it
            await values.find("key", source.read)

    run(check())


def test_a_value_counts_from_when_its_reading_began(run: Any, clock: Any) -> None:
    async def check() -> None:
        source, values = Source(), Recent[str, str](1)
        source.open.clear()
        finding = asyncio.create_task(values.find("key", source.read))
        await asyncio.sleep(0.01)
        clock.now += 1.5  # the reading takes longer than its result is valid
        source.open.set()
        assert await finding == "works"
        source.value = "revoked"
        with pytest.raises(PermissionError):
            await values.find("key", source.read)

    run(check())


def test_a_forgotten_value_is_read_again_although_its_reading_ends_later(run: Any, clock: Any) -> None:
    async def check() -> None:
        source, values = Source(), Recent[str, str](1)
        source.open.clear()
        finding = asyncio.create_task(values.find("key", source.read))
        await asyncio.sleep(0.01)
        values.forget("key")
        source.value = "moved"
        source.open.set()
        assert await finding == "works"
        assert await values.find("key", source.read) == "moved"

    run(check())


def test_a_caller_who_leaves_does_not_end_the_reading_of_the_others(run: Any, clock: Any) -> None:
    async def check() -> None:
        source, values = Source(), Recent[str, str](1)
        source.open.clear()
        leaving, staying = (asyncio.create_task(values.find("key", source.read)) for _ in range(2))
        await asyncio.sleep(0.01)
        leaving.cancel()
        source.open.set()
        assert await staying == "works"

    run(check())
