"""Plays: a person, or the oracle, acts as the model. Each move waits for a worker."""

from __future__ import annotations

from django.db import transaction

from webapp.environments.findings import Move
from webapp.environments.models import EnvironmentVersion, Play
from webapp.environments.queues import PLAYS
from webapp.teams.models import User
from workers.contract.environments import Turn
from workers.contract.json_types import JsonObject

MOST_MOVES = 200


class MoveRefused(ValueError):
    """The move does not count; the message says why and what to do."""


@transaction.atomic
def start_play(
    version: EnvironmentVersion, user: User | None, split: str, task: JsonObject, *, by_oracle: bool = False
) -> Play:
    """Start to play a task: a worker opens a session. The oracle makes its moves at once."""
    play = Play.objects.create(
        team=version.environment.team, version=version, split=split, task=task, by_oracle=by_oracle,
        created_by=user,
    )  # fmt: skip
    PLAYS.notify(play.pk)
    return play


@transaction.atomic
def add_move(play: Play, move: Move) -> None:
    """Append a move and let a worker replay all of them. Raises ``MoveRefused``."""
    locked = Play.objects.select_for_update().get(pk=play.pk)
    if locked.pending:
        raise MoveRefused("Wait for the result of your last call.")
    if locked.ended or locked.by_oracle:
        raise MoveRefused("This task has ended. Play it again from the start.")
    if len(locked.moves) >= MOST_MOVES:
        raise MoveRefused(f"A play has at most {MOST_MOVES} moves. Play the task again from the start.")
    PLAYS.enqueue(locked, moves=[*locked.moves, move])


def build_messages(play: Play) -> list[JsonObject]:
    """Return the prompt and the turns of a play as messages, which conversations show."""
    progress = play.progress
    opening: list[JsonObject] = [
        {"role": role, "content": text}
        for role, text in (("system", progress.system_prompt), ("user", progress.prompt))
        if text
    ]
    return opening + [_build_message(turn) for turn in progress.turns]


def _build_message(turn: Turn) -> JsonObject:
    calls: list[JsonObject] = [
        {"function": {"name": call.name, "arguments": call.arguments or {}}} for call in turn.tool_calls
    ]
    message: JsonObject = {"role": turn.role, "content": turn.content}
    if calls:
        message["tool_calls"] = [*calls]
    return message | ({"name": turn.tool} if turn.tool else {})
