"""The ``sample`` namespace: a completion under OpenAI's names. Also runs inside the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

SAMPLE_FIELDS = ("output_text", "output_json", "output_tools", "choices", "reasoning")

# The json module's own limit depends on the free stack of the caller; this one does not.
MAX_NESTING = 100
TOO_DEEP = f"nested more than {MAX_NESTING} levels deep"


class Completion(str):
    """A completion as graders get it. ``reasoning`` are the thoughts before its final answer."""

    reasoning: str

    def __new__(cls, text: str, reasoning: str = "") -> Completion:
        completion = super().__new__(cls, text)
        completion.reasoning = reasoning
        return completion


def sample_fields(completion: str | list[str]) -> dict[str, object]:
    """Return the namespace of a completion, or of its text and its thoughts.

    ``output_json`` is ``None`` unless the whole text is JSON.
    """
    if isinstance(completion, str):
        text, reasoning = completion, getattr(completion, "reasoning", "")
    else:
        text, reasoning = completion
    try:
        parsed = parse_json(text)
    except ValueError:
        parsed = None
    message = {"role": "assistant", "content": text}
    return {
        "output_text": text,
        "output_json": parsed,
        "output_tools": [],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "reasoning": reasoning,
    }


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
