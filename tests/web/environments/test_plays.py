"""A person plays a task by forms, move by move, and the oracle plays it beside."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from webapp.environments.models import EnvironmentVersion, Play
from webapp.environments.plays.services import MoveRefused, add_move, start_play
from webapp.environments.plays.tool_forms import ToolForm
from webapp.environments.services import create_environment
from webapp.teams.models import Team, User
from workers.bridge.environments import continue_play, inspect_environment
from workers.contract.json_types import JsonObject
from workers.environments.examples import list_examples

SignIn = Callable[[User], Client]
NUMBER = 1  # hidden by the task of seed 0


@pytest.fixture
def version(team: Team, alice: User) -> EnvironmentVersion:
    version = create_environment(team, alice, "Numbers", list_examples()[0].source).versions.get()
    inspect_environment(version.inspection.pk)
    return EnvironmentVersion.objects.get(pk=version.pk)


def played(play: Play) -> Play:
    continue_play(play.pk)
    return Play.objects.get(pk=play.pk)


def start(client: Client, version: EnvironmentVersion, **more: str) -> Play:
    client.post(f"{version.get_absolute_url()}play/", {"split": "train", "number": "1"} | more)
    return played(Play.objects.get())


def guess(client: Client, play: Play, number: object) -> Play:
    client.post(play.get_absolute_url(), {"tool": "guess", "guess-number": number})
    return played(play)


def test_a_person_plays_to_the_reward(version: EnvironmentVersion, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    play = start(client, version)
    assert "I think of a number" in client.get(play.get_absolute_url()).content.decode()
    play = guess(client, play, 50)
    page = client.get(play.get_absolute_url()).content.decode()
    assert "The hidden number is lower." in page
    assert "Reward" not in page, "only at the end"
    play = guess(client, play, NUMBER)
    assert (play.progress.end, play.progress.reward) == ("finished", 1.0)
    page = client.get(play.get_absolute_url()).content.decode()
    for shown in ("Correct.", "1.000", "The number was found.", "The environment ended it."):
        assert shown in page
    with pytest.raises(MoveRefused, match="has ended"):
        add_move(play, {"message": "Once more"})


def test_the_oracle_solves_the_task(version: EnvironmentVersion, alice: User, as_user: SignIn) -> None:
    play = start(as_user(alice), version, oracle="1")
    assert play.progress.reward == 1.0
    assert play.moves == [{"tool": "guess", "arguments": {"number": NUMBER}}]


def test_a_message_or_the_last_call_ends_an_episode(version: EnvironmentVersion, alice: User) -> None:
    written = start_play(version, alice, "train", {"seed": 0})
    written = played(written)
    add_move(written, {"message": "It is 7."})
    assert played(written).progress.end == "answered"
    called = played(start_play(version, alice, "train", {"seed": 0}))
    for _ in range(7):
        add_move(called, {"tool": "guess", "arguments": {"number": 99}})
        called = played(called)
    assert (called.progress.end, called.progress.reward) == ("call_limit", 0.0)


def test_a_wrong_value_names_its_field_and_a_move_too_early_is_refused(
    version: EnvironmentVersion, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    play = start(client, version)
    refused = client.post(play.get_absolute_url(), {"tool": "guess", "guess-number": "many"})
    assert refused.status_code == 422
    assert "Enter a whole number." in refused.content.decode()
    client.post(play.get_absolute_url(), {"tool": "guess", "guess-number": 3})
    early = client.post(play.get_absolute_url(), {"tool": "guess", "guess-number": 4})
    assert "Wait for the result of your last call." in early.content.decode()
    assert [move["arguments"] for move in Play.objects.get().moves] == [{"number": 3}]


TOOL: JsonObject = {
    "type": "function",
    "function": {
        "name": "send",
        "description": "Send it.",
        "parameters": {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": ["air", "sea"], "description": "How."},
                "cents": {"type": "integer", "description": "Price."},
                "weight": {"type": "number", "description": "In kg."},
                "fast": {"type": "boolean", "description": "At once."},
                "tags": {"type": "array", "items": {"type": "string"}, "description": "Labels."},
                "note": {"type": "string", "nullable": True, "description": "For the driver."},
                "later": {"type": "string", "description": "When."},
            },
            "required": ["kind", "cents", "weight", "fast", "note"],
        },
    },
}


def test_a_form_sends_the_types_of_the_schema_and_leaves_out_what_is_empty() -> None:
    values = {"kind": "sea", "cents": "5", "weight": "0.5", "tags": '["a"]', "note": "", "later": ""}
    form = ToolForm(TOOL, {f"send-{name}": value for name, value in values.items()})
    assert form.is_valid(), form.errors
    arguments = {"kind": "sea", "cents": 5, "weight": 0.5, "fast": False, "tags": ["a"], "note": None}
    assert form.read_move() == {"tool": "send", "arguments": arguments}
    wrong = ToolForm(TOOL, {"send-kind": "rail", "send-tags": "["})
    assert set(wrong.errors) == {"kind", "cents", "weight", "tags"}
