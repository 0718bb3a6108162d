"""The engine plays rows of a dataset with the tools of a real MCP server."""

from __future__ import annotations

import pytest

from tests.workers.engine.episodes.test_player import ADD, Script, make_player
from tests.workers.environments.servers import run_server
from workers.contract.environments import McpEnvironment
from workers.engine.episodes import player as playing
from workers.engine.episodes.environments import offer_tools
from workers.engine.prompts.data import Row
from workers.environments import open_backend

SECRET = "s3cret-of-the-test"
AMOUNT = ADD.replace("number", "amount")


def test_rows_of_any_dataset_are_tasks_for_the_tools_of_an_mcp_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "127.0.0.1")
    row = Row("1", [{"role": "user", "content": "Reach 6."}], {"answer": 6})
    with (
        run_server("mcp_server.py") as url,
        open_backend(McpEnvironment(url=f"{url}/mcp", secret="key"), {"key": SECRET}) as backend,
    ):
        offer_tools({"": backend}, [row])
        monkeypatch.setattr(playing, "open_writer", lambda *_: Script(AMOUNT, AMOUNT, "Done."))
        [[first, second]] = make_player(backend).play(None, [row], 2)  # type: ignore[arg-type]
    for record in (first.record, second.record):
        assert [turn.content for turn in record.turns if turn.role == "tool"] == ["total 3", "total 6"]
        assert (record.end, record.reward) == ("answered", None)
