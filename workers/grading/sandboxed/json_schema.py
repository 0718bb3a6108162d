"""Runs inside the sandbox: checks an answer with a JSON schema and compares its fields."""

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
from workers.grading.sandboxed.verdicts import Verdict, build_verdict
from workers.grading.thoughts import split_thoughts

CONFIG: Any = {}
MOST_ERRORS, ERROR_CHARACTERS = 3, 300
MAX_NESTING = 100

# A schema takes up to about ten frames a level.
sys.setrecursionlimit(5_000)
# The registry knows the drafts themselves and retrieves nothing.
VALIDATOR = Draft202012Validator(CONFIG["schema"], registry=REGISTRY)


class Failed(Exception):
    """The grader or the row is at fault."""

    def __init__(self, error_class: str, detail: str) -> None:
        super().__init__(detail)
        self.error_class, self.detail = error_class, detail


def grade(sample: dict[str, Any], item: dict[str, str]) -> Verdict:
    text = sample["output_text"]
    try:
        answer = parse(extract_json(text) if CONFIG["fenced"] else text)
    except (ValueError, RecursionError) as error:
        detail = f"the answer is not JSON: {error}{find_hint(text)}"
        return build_verdict(0.0, detail, "sample_parse_error", {"valid": 0.0})
    try:
        problems = [describe(error) for error in islice(VALIDATOR.iter_errors(answer), MOST_ERRORS)]
        if problems:
            return build_verdict(0.0, "\n".join(problems), None, {"valid": 0.0})
        scores = {field["path"]: compare_field(field, answer, item) for field in CONFIG["fields"]}
    except RecursionError:
        return build_verdict(None, "the schema refers to itself without end", "other_error")
    except Failed as failure:
        return build_verdict(None, failure.detail, failure.error_class)
    total = sum(field["weight"] for field in CONFIG["fields"])
    share = sum(f["weight"] * scores[f["path"]] for f in CONFIG["fields"]) / total if scores else 1.0
    return build_verdict(share, "", None, {"valid": 1.0, **scores})


def extract_json(text: str) -> str:
    """Return the last block of JSON, or the text itself; thoughts are left out."""
    answer = split_thoughts(text)[1]
    block = last_block(answer, {"json", "json5", "jsonc"})
    return last_block(answer, {""}) or answer if block is None else block


def find_hint(text: str) -> str:
    """Return which setting would accept the text, if it holds more than JSON; else nothing."""
    if CONFIG["fenced"] or not text.strip():
        return ""
    try:
        parse(extract_json(text))
    except (ValueError, RecursionError):
        return ""
    where = "among other text" if outside_blocks(text) else "in a fence"
    return f"; the JSON is {where} (set fenced to accept that)"


def parse(text: str) -> Any:
    """Return the JSON value. Raises ``ValueError``, also for NaN and infinities."""
    value = json.loads(text, parse_constant=refuse_constant)
    level = [value]
    for _ in range(MAX_NESTING):
        level = [part for whole in level for part in list_parts(whole)]
    if any(isinstance(part, dict | list) for part in level):
        raise ValueError(f"nested more than {MAX_NESTING} levels deep")
    return value


def list_parts(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def describe(error: Any) -> str:
    return f"{error.json_path}: {error.message}"[:ERROR_CHARACTERS]


# --- fields ----------------------------------------------------------------------------------------


def compare_field(field: Any, answer: Any, item: dict[str, str]) -> float:
    """Return how well one field equals the reference's, 0 to 1. Raises ``Failed`` if that is missing."""
    try:
        reference = parse(item["reference"])
    except (ValueError, RecursionError) as error:
        raise Failed("other_error", f"the reference is not JSON: {error}") from error
    try:
        expected = walk(reference, field["steps"])
    except LookupError as error:
        raise Failed("invalid_variable_error", f"the reference has no {field['path']}") from error
    try:
        given = walk(answer, field["steps"])
    except LookupError:
        return 0.0
    return float(COMPARISONS[field["compare"]](given, expected, field["tolerance"]))


def walk(value: Any, steps: list[Any]) -> Any:
    """Return the value at the path. Raises ``LookupError`` if there is none."""
    for step in steps:
        if not isinstance(value, dict if isinstance(step, str) else list):
            raise KeyError(step)
        value = value[step]
    return value


def are_equal(given: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Return True by JSON's equality: 1 is 1.0, but true is not 1."""
    if isinstance(given, bool) or isinstance(expected, bool):
        return given is expected
    if isinstance(given, dict) and isinstance(expected, dict):
        return given.keys() == expected.keys() and all(are_equal(given[key], expected[key]) for key in given)
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(map(are_equal, given, expected))
    return bool(given == expected)


def are_near(given: Any, expected: Any, tolerance: float) -> bool:
    if not is_number(expected):
        raise Failed("other_error", f"the reference has no number to compare with: {expected!r}"[:300])
    try:
        return is_number(given) and math.isclose(given, expected, rel_tol=1e-9, abs_tol=tolerance)
    except OverflowError:
        return bool(given == expected)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_plain_text(value: Any) -> str:
    """Return text without differences of case and white space; any other value as JSON."""
    return " ".join((value if isinstance(value, str) else json.dumps(value)).split()).casefold()


COMPARISONS: dict[str, Callable[[Any, Any, float], float]] = {
    "exact": are_equal,
    "text": lambda given, expected, _: to_plain_text(given) == to_plain_text(expected),
    "number": are_near,
    "fuzzy": lambda given, expected, _: fuzz.ratio(to_plain_text(given), to_plain_text(expected)) / 100,
}
