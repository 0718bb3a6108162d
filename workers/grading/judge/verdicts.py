"""Read the verdict in a judge's reply, without thoughts, fences and words around its JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from workers.grading.fences import last_block
from workers.grading.thoughts import split_thoughts

JSON_TAGS = {"json", "json5", "jsonc"}
TEXT_PARTS = {"text", "output_text"}
_DECODER = json.JSONDecoder()


def parse_verdict(text: str) -> Any:
    """Return the JSON in a reply. Raises ``ValueError``.

    The whole text is tried first, so that a tag or a fence inside of a reason changes nothing.
    """
    try:
        return _load(text)
    except ValueError as error:
        problem = error
    thoughts, answer = split_thoughts(text)
    if thoughts and not answer:
        raise ValueError("it holds only thoughts")
    block = last_block(answer, JSON_TAGS) or last_block(answer, {""})
    for candidate in (answer, block, _find_last_object(answer)):
        if candidate is not None:
            try:
                return _load(candidate)
            except ValueError as error:
                problem = error
    raise problem


def content_text(content: Any) -> str:
    """Return the text of a message's content, a text or a list of typed parts, without thoughts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "".join(_part_text(part) for part in parts)


def find_refusal(content: Any) -> str:
    """Return the refusal among the parts of a message's content; empty if there is none."""
    parts = content if isinstance(content, list) else []
    refusals = [part.get("refusal") for part in parts if isinstance(part, dict)]
    return next((each for each in refusals if isinstance(each, str) and each), "")


def as_number(value: Any) -> Any:
    """Turn a number that a judge wrote as text into a number; return anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value


def as_truth(value: Any) -> Any:
    """Turn ``"true"`` and ``"yes"`` into truth values; return anything else as it is."""
    words = {"true": True, "yes": True, "false": False, "no": False}
    return words.get(value.strip().lower(), value) if isinstance(value, str) else value


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type", "text") not in TEXT_PARTS:
        return ""
    return part["text"] if isinstance(part.get("text"), str) else ""


def _find_last_object(text: str) -> str | None:
    """Return the last JSON object in the text that is not inside another one."""
    found, at = None, text.find("{")
    while at >= 0:
        try:
            _, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
        else:
            found, at = text[at:end], text.find("{", end)
    return found


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
