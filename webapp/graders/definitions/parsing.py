"""What a grader's text says: its definition, the field that is wrong and where, the fields that it reads."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from webapp.core.input_checks import load_json
from webapp.graders.definitions.positions import Place, at, place_of
from workers import grading
from workers.grading.sample import TOO_DEEP

Json = dict[str, Any]
Row = dict[str, Any]
"""``row_id``, ``messages`` and ``item``, the other fields."""
JOB_PATH = ("method", "reinforcement", "grader")
# Tried in this order where a grader does not say which field holds the right answer.
REFERENCE_NAMES = (
    "reference", "reference_answer", "answer", "correct_answer", "expected", "expected_output",
    "label", "target", "solution", "gold", "output",
)  # fmt: skip
_FIELD = re.compile(r"""\{\{\s*item(?:\.(\w[\w-]*)|\[\s*["']([^"']+)["']\s*\])""")


class TextInvalid(ValueError):
    """A text that holds no valid grader: the field by its dotted path, what is wrong, and where it stands."""

    def __init__(self, param: str, message: str, place: Place | None, line: str = "") -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.param, self.message, self.place, self.excerpt = param, message, place, line


@dataclass(frozen=True)
class Import:
    """A grader read from a text. ``path`` says where in it the definition stood."""

    definition: Any
    path: str = ""


def read_json(text: str) -> Import:
    """A valid grader: the object itself, or the one in a fine-tuning job. Raises TextInvalid."""
    found = _grader_in(_parsed(text))
    try:
        grading.validate(found.definition)
    except grading.GraderInvalid as error:
        param = ".".join(filter(None, (found.path, error.param)))
        place = place_of(text, param)
        raise TextInvalid(param, error.message, place, text.splitlines()[place.line - 1].strip()) from error
    return found


def _parsed(text: str) -> Any:
    try:
        return load_json(text)
    except json.JSONDecodeError as error:
        place = at(text, error.pos)
        line = (text.splitlines() or [""])[min(place.line, max(len(text.splitlines()), 1)) - 1]
        raise TextInvalid("", f"This is not JSON: {error.msg}.", place, line.strip()) from error
    except RecursionError as error:
        raise TextInvalid("", f"This is {TOO_DEEP}.", Place(1, 1)) from error
    except ValueError as error:
        raise TextInvalid("", f"This cannot be read as JSON: {error}.", Place(1, 1)) from error


def _grader_in(value: Any) -> Import:
    """Descends into a job, as far as one is there."""
    if isinstance(value, dict) and "type" not in value:
        if "grader" in value:
            return Import(value["grader"], "grader")
        if isinstance(value.get("reinforcement"), dict):
            return Import(value["reinforcement"].get("grader"), "reinforcement.grader")
    method = value.get("method") if isinstance(value, dict) else None
    if isinstance(method, dict):
        inner = method.get(JOB_PATH[1])
        return Import(inner.get("grader") if isinstance(inner, dict) else None, ".".join(JOB_PATH))
    return Import(value)


def problems(text: str) -> list[Json]:
    """What is wrong with a definition's text, for an editor to underline: ``{line, column, message}``."""
    try:
        read_json(text)
    except TextInvalid as error:
        place = error.place or Place(1, 1)
        return [{"line": place.line, "column": place.column, "message": str(error)}]
    return []


# --- what it reads of a row ------------------------------------------------------------------------


def item_fields(definition: Json) -> list[str]:
    """The fields of a row that the grader names, in order: in templates, and in Python as ``item["…"]``."""
    found: list[str] = []
    for key, text in texts(definition):
        found += _in_source(text) if key == "source" else [a or b for a, b in _FIELD.findall(text)]
    return list(dict.fromkeys(found))


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a definition with the key it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from texts(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part, key)


def _in_source(source: str) -> list[str]:
    """``item["x"]`` and ``item.get("x")``, whatever the second argument of ``grade`` is called."""
    tree = ast.parse(source)
    name = grade_argument(tree)
    constants = [key.value for key in _keys(tree, name) if isinstance(key, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def grade_argument(tree: ast.Module) -> str:
    """What ``grade`` calls its second argument, the row's fields."""
    grade = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "grade"]
    arguments = [*grade[-1].args.posonlyargs, *grade[-1].args.args] if grade else []
    return arguments[1].arg if len(arguments) > 1 else "item"


def _keys(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_name(node.value, name):
            yield node.slice
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr == "get" and is_name(called.value, name):
            yield from node.args[:1]  # type: ignore[attr-defined]


def is_name(node: ast.expr, name: str) -> bool:
    """True if the expression is the variable ``name``."""
    return isinstance(node, ast.Name) and node.id == name


def reference_field(definition: Json, fields: list[str]) -> str:
    """Which of a dataset's ``fields`` holds the right answer, as far as names tell; empty if none does."""
    read = [name for name in item_fields(definition) if name in fields]
    for candidates in (read, fields):
        for name in REFERENCE_NAMES:
            if name in candidates:
                return name
    return read[0] if read else ""


def text_of(row: Row, field: str) -> str | None:
    """A field as the answer that a model would write; None if the row lacks it."""
    value = row["item"].get(field)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
