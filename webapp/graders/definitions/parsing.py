"""Read the text of a grader: its definition, the position of an error, the fields of a row that it reads."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from webapp.core.input_checks import load_json
from webapp.graders.definitions.positions import Position, find_position, to_position
from workers import grading
from workers.contract.json_types import JsonObject, JsonValue
from workers.grading.sample import TOO_DEEP
from workers.grading.source import parse_python

JOB_PATH = ("method", "reinforcement", "grader")
# Tried in this order if the grader does not say which field holds the right answer.
REFERENCE_NAMES = (
    "reference", "reference_answer", "answer", "correct_answer", "expected", "expected_output",
    "label", "target", "solution", "gold", "output",
)  # fmt: skip
_FIELD = re.compile(r"""\{\{\s*item(?:\.(\w[\w-]*)|\[\s*["']([^"']+)["']\s*\])""")


class TextInvalid(ValueError):
    """A text without a valid grader. ``param`` is the dotted path of the field that is wrong."""

    def __init__(self, param: str, message: str, position: Position, line: str = "") -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.param, self.message, self.position, self.excerpt = param, message, position, line


@dataclass(frozen=True)
class Import:
    """A definition read from a text; ``path`` is its dotted path there."""

    definition: Any
    path: str = ""


def read_json(text: str) -> Import:
    """Return the valid grader in a text, also one inside a fine-tuning job. Raises ``TextInvalid``."""
    found = _find_grader(_parse(text))
    try:
        grading.validate(found.definition)
    except grading.GraderInvalid as error:
        param = ".".join(filter(None, (found.path, error.param)))
        position = find_position(text, param)
        raise TextInvalid(param, error.message, position, _quote_line(text, position)) from error
    return found


def _parse(text: str) -> Any:
    try:
        return load_json(text)
    except json.JSONDecodeError as error:
        position = to_position(text, error.pos)
        excerpt = _quote_line(text, position)
        raise TextInvalid("", f"This is not JSON: {error.msg}.", position, excerpt) from error
    except RecursionError as error:
        raise TextInvalid("", f"This is {TOO_DEEP}.", Position(1, 1)) from error
    except ValueError as error:
        raise TextInvalid("", f"This cannot be read as JSON: {error}.", Position(1, 1)) from error


def _quote_line(text: str, position: Position) -> str:
    # Positions count line feeds only; splitlines() would also split at characters such as U+2028.
    return text.split("\n")[position.line - 1].strip()


def _find_grader(value: Any) -> Import:
    """Return the grader inside a job or a part of one, or ``value`` itself."""
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


def find_problems(text: str) -> list[grading.Problem]:
    """Return the first problem of a definition's text, for an editor to underline; empty if it is valid."""
    try:
        read_json(text)
    except TextInvalid as error:
        position = error.position
        return [{"line": position.line, "column": position.column, "message": str(error)}]
    return []


# --- fields of a row that a grader reads ------------------------------------------------------------


def find_item_fields(definition: JsonObject) -> list[str]:
    """Return the fields of a row that the grader names, in order: in templates and in Python source."""
    found: list[str] = []
    for key, text in walk_texts(definition):
        found += _find_source_fields(text) if key == "source" else [a or b for a, b in _FIELD.findall(text)]
    return list(dict.fromkeys(found))


def walk_texts(value: JsonValue, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a definition, with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from walk_texts(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from walk_texts(part, key)


def _find_source_fields(source: str) -> list[str]:
    """Return the fields read by ``item["x"]`` and ``item.get("x")``; the argument may have another name."""
    tree = parse_python(source)
    name = find_item_argument(tree)
    constants = [key.value for key in _list_keys(tree, name) if isinstance(key, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def find_item_argument(tree: ast.Module) -> str:
    """Return the name of the second argument of ``grade``, the row's fields."""
    grade = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "grade"]
    arguments = [*grade[-1].args.posonlyargs, *grade[-1].args.args] if grade else []
    return arguments[1].arg if len(arguments) > 1 else "item"


def _list_keys(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_name(node.value, name):
            yield node.slice
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr == "get" and is_name(called.value, name):
            yield from node.args[:1]  # type: ignore[attr-defined]


def is_name(node: ast.expr, name: str) -> bool:
    """Return True if the expression is the variable ``name``."""
    return isinstance(node, ast.Name) and node.id == name


def guess_reference_field(definition: JsonObject, fields: list[str]) -> str:
    """Return which of a dataset's ``fields`` seems to hold the right answer; empty if none does."""
    read = [name for name in find_item_fields(definition) if name in fields]
    for candidates in (read, fields):
        for name in REFERENCE_NAMES:
            if name in candidates:
                return name
    return read[0] if read else ""


def field_as_text(item: Mapping[str, JsonValue], field: str) -> str | None:
    """Return a field as a model would write it; None if the row lacks it."""
    value = item.get(field)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
