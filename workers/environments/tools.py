"""Tools as JSON Schema: from a method's hints and docstring, and the check of a model's arguments."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping

from workers.contract.json_types import JsonObject, JsonValue
from workers.environments.backend import EnvironmentFault
from workers.environments.text import is_storable
from workers.grading.source import parse_python

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
NAMES = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
         "array": "a list", "object": "an object"}  # fmt: skip
HINTS = "str, int, float, bool, Literal[...], list[...], dict[str, ...] and | None"
SHOWN_CHARACTERS = 60
MOST_ALIASES = 8
MOST_NAME = 64
_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?):\s*$", re.MULTILINE
)
_ARGUMENT = re.compile(r"^ {1,8}(\w+)(?:\s*\([^)]*\))?:[ \t]*(.*)$")


# --- schema ----------------------------------------------------------------------------------------


def describe_tool(method: ast.FunctionDef, aliases: Mapping[str, ast.expr]) -> JsonObject:
    """Return a method as an OpenAI function tool, with the schema that transformers would make.

    Raises ``EnvironmentFault``.
    """
    description, texts = _read_docstring(method)
    arguments = [*method.args.args[1:], *method.args.kwonlyargs]
    defaults = _find_defaults(method.args)
    if method.args.vararg or method.args.kwarg or method.args.posonlyargs or not method.args.args:
        cause = f"tool {method.name} takes *args, **kwargs, positional-only arguments or no self"
        raise EnvironmentFault(cause, "Give each argument a name and a type hint.", method.lineno)
    properties: JsonObject = {}
    for argument in arguments:
        if argument.annotation is None:
            cause = f"argument {argument.arg} of tool {method.name} has no type hint"
            raise EnvironmentFault(cause, f"Add one of {HINTS}.", argument.lineno)
        if not texts.get(argument.arg):
            cause = f"the docstring of tool {method.name} does not describe {argument.arg}"
            remedy = f'Add "{argument.arg}: ..." below a line "Args:".'
            raise EnvironmentFault(cause, remedy, argument.lineno)
        schema = _read_hint(argument.annotation, aliases, f"{argument.arg} of tool {method.name}", 0)
        properties[argument.arg] = {**schema, "description": texts[argument.arg]}
    required: list[JsonValue] = [each.arg for each in arguments if each.arg not in defaults]
    parameters: JsonObject = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    function: JsonObject = {"name": method.name, "description": description, "parameters": parameters}
    if not method.name.isascii() or len(method.name) > MOST_NAME or not is_storable(function):
        cause = f"tool {method.name[:MOST_NAME]} has a name that APIs refuse, or NUL or half a surrogate pair"
        raise EnvironmentFault(cause, f"Use at most {MOST_NAME} ASCII letters, digits and _.", method.lineno)
    return {"type": "function", "function": function}


def _find_defaults(arguments: ast.arguments) -> set[str]:
    behind = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {each.arg for each in behind} | {each.arg for each, default in keywords if default is not None}


def _read_docstring(method: ast.FunctionDef) -> tuple[str, dict[str, str]]:
    """Return the description and the text of each argument of a Google docstring."""
    text = inspect.cleandoc(ast.get_docstring(method) or "")
    parts = _SECTION.split(text)
    if not parts[0].strip():
        cause = f"tool {method.name} has no docstring"
        raise EnvironmentFault(cause, "Say in one line what it does, then its Args:.", method.lineno)
    texts: dict[str, str] = {}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        if title in ("Args", "Arguments", "Parameters"):
            name = ""
            for line in body.splitlines():
                if found := _ARGUMENT.match(line):
                    name, texts[found[1]] = found[1], found[2].strip()
                elif name and line.strip():
                    texts[name] = f"{texts[name]} {line.strip()}".strip()
    return parts[0].strip(), texts


def _parse_hint(text: str) -> ast.expr:
    """Return a type hint that is written as a string; the constant None if it is no expression."""
    try:
        (statement,) = parse_python(text.strip()).body
    except (SyntaxError, ValueError, RecursionError):
        return ast.Constant(None)
    return statement.value if isinstance(statement, ast.Expr) else ast.Constant(None)


def _read_hint(node: ast.expr, aliases: Mapping[str, ast.expr], what: str, depth: int) -> JsonObject:
    """Return the schema of a type hint. Raises ``EnvironmentFault`` for one that has none."""
    if depth > MOST_ALIASES:
        raise EnvironmentFault(f"the type hint of {what} is nested too deeply", f"Use {HINTS}.", node.lineno)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        inner = _parse_hint(node.value)
        return _read_hint(ast.copy_location(inner, node), aliases, what, depth + 1)
    name = _name(node)
    if name in TYPES:
        return {"type": TYPES[name]}
    if name in ("list", "dict"):
        return {"type": "array" if name == "list" else "object"}
    if isinstance(node, ast.Name) and name in aliases:
        return _read_hint(aliases[name], aliases, what, depth + 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and _is_none(node.right):
        return {**_read_hint(node.left, aliases, what, depth + 1), "nullable": True}
    if isinstance(node, ast.Subscript):
        schema = _read_subscript(node, aliases, what, depth + 1)
        if schema is not None:
            return schema
    cause = f"the type hint {ast.unparse(node)[:SHOWN_CHARACTERS]} of {what} has no JSON type"
    raise EnvironmentFault(cause, f"Use {HINTS}.", getattr(node, "lineno", None))


def _read_subscript(
    node: ast.Subscript, aliases: Mapping[str, ast.expr], what: str, depth: int
) -> JsonObject | None:
    name, inner = _name(node.value), node.slice
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name in ("list", "List") and len(parts) == 1:
        return {"type": "array", "items": _read_hint(parts[0], aliases, what, depth)}
    if name in ("dict", "Dict") and len(parts) == 2 and _name(parts[0]) == "str":
        return {"type": "object", "additionalProperties": _read_hint(parts[1], aliases, what, depth)}
    if name == "Optional" and len(parts) == 1:
        return {**_read_hint(parts[0], aliases, what, depth), "nullable": True}
    values: list[JsonValue] = [
        each.value
        for each in parts
        if isinstance(each, ast.Constant) and isinstance(each.value, str | int | bool)
    ]
    kinds = {type(value) for value in values}
    if name == "Literal" and len(values) == len(parts) and len(kinds) == 1:
        return {"type": TYPES[kinds.pop().__name__], "enum": values}
    return None


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


# --- arguments -------------------------------------------------------------------------------------


def find_mismatch(tool: JsonObject, arguments: JsonObject) -> str:
    """Return how the arguments of a call differ from the tool's schema; empty if they fit."""
    function = tool["function"]
    assert isinstance(function, dict)
    parameters = function["parameters"]
    assert isinstance(parameters, dict)
    properties, required = parameters["properties"], parameters.get("required", [])
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    for name in required:
        if name not in arguments:
            return f"{function['name']} needs the argument {name}"
    for name, value in arguments.items():
        schema = properties.get(name)
        if not isinstance(schema, dict):
            known = ", ".join(properties) or "none"
            return f"{function['name']} has no argument {name[:SHOWN_CHARACTERS]}; it takes {known}"
        expected = _find_expected(value, schema)
        if expected:
            return f"{name} must be {expected}, not {show(value)}"
    return ""


def _find_expected(value: JsonValue, schema: JsonObject) -> str:
    """Return what the schema expects in place of ``value``; empty if it fits."""
    kind, choices = str(schema["type"]), schema.get("enum")
    if value is None and schema.get("nullable"):
        return ""
    if not _has_type(value, kind):
        return NAMES[kind]
    if isinstance(choices, list) and value not in choices:
        return "one of " + ", ".join(map(str, choices))
    items, values = schema.get("items"), schema.get("additionalProperties")
    if isinstance(value, list) and isinstance(items, dict):
        wrong = next(filter(None, (_find_expected(each, items) for each in value)), "")
        return f"a list with each item {wrong}" if wrong else ""
    if isinstance(value, dict) and isinstance(values, dict):
        wrong = next(filter(None, (_find_expected(each, values) for each in value.values())), "")
        return f"an object with each value {wrong}" if wrong else ""
    return ""


def _has_type(value: JsonValue, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "number":
        return isinstance(value, int | float)
    return isinstance(
        value, {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}[kind]
    )


def show(value: JsonValue) -> str:
    """Return the beginning of a value for a message."""
    text = (
        f'"{value}"'
        if isinstance(value, str)
        else "a nested value"
        if isinstance(value, list | dict)
        else str(value)
    )
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
