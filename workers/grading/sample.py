"""The ``sample`` namespace: one answer of the model, under OpenAI's names."""

from __future__ import annotations

import json
from typing import Any, NoReturn

SAMPLE_FIELDS = ("output_text", "output_json", "output_tools", "choices")


def sample_fields(text: str) -> dict[str, Any]:
    """``text`` as graders see it; ``output_json`` is ``None`` unless the whole text is JSON."""
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
    }


def parse_json(text: str) -> Any:
    """The value that ``text`` is the JSON of. NaN and infinities are none. Raises ``ValueError``."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
