"""The ``sample`` namespace: one answer of the model, under OpenAI's names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

SAMPLE_FIELDS = ("output_text", "output_json", "output_tools", "choices", "reasoning")

# json refuses to go deeper than the stack has room for, which depends on the caller; this does not.
MAX_NESTING = 100
TOO_DEEP = f"nested more than {MAX_NESTING} levels deep"


class Completion(str):
    """A completion as graders see it. ``reasoning`` are the thoughts that came before its final answer."""

    reasoning: str

    def __new__(cls, text: str, reasoning: str = "") -> Completion:
        made = super().__new__(cls, text)
        made.reasoning = reasoning
        return made


def sample_fields(answer: str | list[str]) -> dict[str, Any]:
    """A completion, or its text and its thoughts, as graders see it.

    ``output_json`` is ``None`` unless the whole text is JSON.
    """
    text, reasoning = (answer, getattr(answer, "reasoning", "")) if isinstance(answer, str) else answer
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
    """The value that ``text`` is the JSON of. NaN and infinities are none. Raises ``ValueError``."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if may_nest_too_deeply(text) and nested_too_deeply(value):
        raise ValueError(TOO_DEEP)
    return value


def may_nest_too_deeply(text: str) -> bool:
    """Whether JSON ``text`` has brackets enough for it; most has not, and telling so is quick."""
    return text.count("[") + text.count("{") > MAX_NESTING


def nested_too_deeply(value: Any) -> bool:
    """Whether lists and objects lie more than ``MAX_NESTING`` levels within one another."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [part for whole in level for part in _parts(whole)]
        if not level:
            return False
    return any(isinstance(part, dict | list) for part in level)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
