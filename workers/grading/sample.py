"""The ``sample`` namespace: a completion under OpenAI's names. Also runs inside the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from workers.contract.environments import EpisodeRecord

SAMPLE_FIELDS = ("output_text", "output_json", "output_tools", "choices", "reasoning", "turns")

# The json module's own limit depends on the free stack of the caller; this one does not.
MAX_NESTING = 100
TOO_DEEP = f"nested more than {MAX_NESTING} levels deep"


class Completion(str):
    """A completion as graders get it. ``reasoning`` are the thoughts before its final answer.

    The text of an ``episode`` is its whole transcript.
    """

    reasoning: str
    episode: EpisodeRecord | None

    def __new__(cls, text: str, reasoning: str = "", episode: EpisodeRecord | None = None) -> Completion:
        completion = super().__new__(cls, text)
        completion.reasoning, completion.episode = reasoning, episode
        return completion


def as_json(completion: str) -> str | list[Any]:
    """Return the completion as ``sample_fields`` reads it: text, with thoughts if any, with turns if any."""
    episode, reasoning = getattr(completion, "episode", None), getattr(completion, "reasoning", "")
    if episode is None:
        return [completion, reasoning] if reasoning else completion
    turns = [turn.model_dump(mode="json", exclude={"seconds"}) for turn in episode.turns]
    return [episode.final_text(), reasoning, turns]


def sample_fields(completion: str | list[Any]) -> dict[str, object]:
    """Return the namespace of a completion, or of its text, its thoughts and the turns of its episode.

    ``output_json`` is ``None`` unless the whole text is JSON. Of an episode the text is that of the model's
    last turn, and ``output_tools`` are the calls of all turns.
    """
    parts = as_json(completion) if isinstance(completion, str) else completion
    text, reasoning, turns = [*([parts] if isinstance(parts, str) else parts), "", []][:3]
    try:
        parsed = parse_json(text)
    except ValueError:
        parsed = None
    message = {"role": "assistant", "content": text}
    return {
        "output_text": text,
        "output_json": parsed,
        "output_tools": [_describe_call(call) for turn in turns for call in turn["tool_calls"]],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "reasoning": reasoning,
        "turns": turns,
    }


def _describe_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call in OpenAI's form; arguments that could not be read are their text."""
    arguments = call["text"] if call["arguments"] is None else json.dumps(call["arguments"])
    return {"type": "function", "function": {"name": call["name"], "arguments": arguments}}


def parse_json(text: str) -> Any:
    """Return the JSON value of ``text``. Raises ``ValueError``, also for NaN and infinities."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if may_nest_too_deeply(text) and nested_too_deeply(value):
        raise ValueError(TOO_DEEP)
    return value


def may_nest_too_deeply(text: str) -> bool:
    """Return True if JSON ``text`` has enough brackets for it: a quick test that most texts fail."""
    return text.count("[") + text.count("{") > MAX_NESTING


def nested_too_deeply(value: Any) -> bool:
    """Return True if lists and objects are nested more than ``MAX_NESTING`` levels deep."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [part for whole in level for part in _list_parts(whole)]
        if not level:
            return False
    return any(isinstance(part, dict | list) for part in level)


def _list_parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
