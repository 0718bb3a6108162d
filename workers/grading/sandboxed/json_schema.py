"""Runs inside the sandbox: whether an answer satisfies a JSON schema, and how its fields compare."""

import json
import math
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY
from rapidfuzz import fuzz

from workers.grading.fences import last_block, outside_blocks
from workers.grading.thoughts import split_thoughts

CONFIG: dict[str, Any] = {}
SHOWN_ERRORS, SHOWN_CHARACTERS = 3, 300
MAX_NESTING = 100

# A schema takes up to about ten frames a level.
sys.setrecursionlimit(5_000)
# The registry knows the drafts themselves and retrieves nothing.
VALIDATOR = Draft202012Validator(CONFIG["schema"], registry=REGISTRY)


class Failed(Exception):
    """The grader or the row is at fault; ``args`` are the class and the detail."""


def grade(sample: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    text = sample["output_text"]
    try:
        answer = parsed(unfenced(text) if CONFIG["fenced"] else text)
    except (ValueError, RecursionError) as error:
        told_why = f"the answer is not JSON: {error}{hint(text)}"
        return verdict(0.0, {"valid": 0.0}, "sample_parse_error", told_why)
    try:
        problems = [told(error) for error in islice(VALIDATOR.iter_errors(answer), SHOWN_ERRORS)]
        if problems:
            return verdict(0.0, {"valid": 0.0}, None, "\n".join(problems))
        scores = {field["path"]: compared(field, answer, item) for field in CONFIG["fields"]}
    except RecursionError:
        return verdict(None, {}, "other_error", "the schema refers to itself without end")
    except Failed as failure:
        return verdict(None, {}, *failure.args)
    total = sum(field["weight"] for field in CONFIG["fields"])
    share = sum(f["weight"] * scores[f["path"]] for f in CONFIG["fields"]) / total if scores else 1.0
    return verdict(share, {"valid": 1.0, **scores}, None, "")


def verdict(
    reward: float | None, parts: dict[str, float], error_class: str | None, detail: str
) -> dict[str, Any]:
    return {"reward": reward, "sub_rewards": parts, "error_class": error_class, "detail": detail}


def unfenced(text: str) -> str:
    """The last block of JSON, or the text itself; thoughts are left out."""
    said = split_thoughts(text)[1]
    block = last_block(said, {"json", "json5", "jsonc"})
    return last_block(said, {""}) or said if block is None else block


def hint(text: str) -> str:
    """What to set, if the JSON is there but not alone."""
    if CONFIG["fenced"] or not text.strip():
        return ""
    try:
        parsed(unfenced(text))
    except (ValueError, RecursionError):
        return ""
    alone = "" if outside_blocks(text) else "stands in a fence"
    return f"; JSON {alone or 'stands beside other text'} (set fenced to accept that)"


def parsed(text: str) -> Any:
    """Raises ``ValueError``; NaN and infinities are not JSON."""
    value = json.loads(text, parse_constant=refuse)
    level = [value]
    for _ in range(MAX_NESTING):
        level = [part for whole in level for part in parts_of(whole)]
    if any(isinstance(part, dict | list) for part in level):
        raise ValueError(f"nested more than {MAX_NESTING} levels deep")
    return value


def parts_of(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def told(error: Any) -> str:
    return f"{error.json_path}: {error.message}"[:SHOWN_CHARACTERS]


# --- fields ----------------------------------------------------------------------------------------


def compared(field: dict[str, Any], answer: Any, item: dict[str, Any]) -> float:
    """How well one field fits the reference's, 0 to 1. Raises ``Failed`` if the reference lacks it."""
    try:
        reference = parsed(item["reference"])
    except (ValueError, RecursionError) as error:
        raise Failed("other_error", f"the reference is not JSON: {error}") from error
    try:
        expected = found(reference, field["steps"])
    except LookupError as error:
        raise Failed("invalid_variable_error", f"the reference has no {field['path']}") from error
    try:
        given = found(answer, field["steps"])
    except LookupError:
        return 0.0
    return float(COMPARISONS[field["compare"]](given, expected, field["tolerance"]))


def found(value: Any, steps: list[Any]) -> Any:
    """Raises ``LookupError`` where the path leads nowhere."""
    for step in steps:
        if not isinstance(value, dict if isinstance(step, str) else list):
            raise KeyError(step)
        value = value[step]
    return value


def same(given: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """JSON's equality: 1 is 1.0, but true is not 1."""
    if isinstance(given, bool) or isinstance(expected, bool):
        return given is expected
    if isinstance(given, dict) and isinstance(expected, dict):
        return given.keys() == expected.keys() and all(same(given[key], expected[key]) for key in given)
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(map(same, given, expected))
    return bool(given == expected)


def near(given: Any, expected: Any, tolerance: float) -> bool:
    if not number(expected):
        raise Failed("other_error", f"the reference has no number to compare with: {expected!r}"[:300])
    try:
        return number(given) and math.isclose(given, expected, rel_tol=1e-9, abs_tol=tolerance)
    except OverflowError:
        return bool(given == expected)


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text(value: Any) -> str:
    """Case and white space put aside; anything but text as JSON."""
    return " ".join((value if isinstance(value, str) else json.dumps(value)).split()).casefold()


COMPARISONS: dict[str, Callable[[Any, Any, float], float]] = {
    "exact": same,
    "text": lambda given, expected, _: text(given) == text(expected),
    "number": near,
    "fuzzy": lambda given, expected, _: fuzz.ratio(text(given), text(expected)) / 100,
}
