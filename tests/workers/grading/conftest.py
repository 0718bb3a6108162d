"""A judge server of each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workers.judge_server import JudgeServer


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running
