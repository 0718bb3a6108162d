"""What can be said of a Python grader without running it. Its source is parsed here, never executed."""

from __future__ import annotations

import ast
import re
from typing import TypedDict

from workers.spec import MAX_PYTHON_SOURCE_BYTES

FUNCTION = "grade"

# Python 3.11 searches a whole f-string for the place of each of its fields: this bounds it to about a second.
MAX_FSTRING_WORK = 1_000_000_000
_FSTRING = re.compile(r"""[fF][rR]?["']""")


class Problem(TypedDict):
    """``line`` and ``column`` are 1-based."""

    line: int
    column: int
    message: str


def python_problems(source: str) -> list[Problem]:
    """Why ``source`` cannot grade: its size, its syntax, or no ``grade(sample, item)``. Empty if it can."""
    size = len(source.encode("utf-8", "surrogatepass"))
    if size >= MAX_PYTHON_SOURCE_BYTES:
        return [_problem(1, 1, f"the source has {size} bytes; the limit is {MAX_PYTHON_SOURCE_BYTES}")]
    if _FSTRING.search(source) and size * source.count("{") > MAX_FSTRING_WORK:
        return [_problem(1, 1, "too many '{' beside f-strings for a source this long; shorten it")]
    try:
        tree = ast.parse(source, "grader.py")
    except SyntaxError as error:
        return [_problem(error.lineno or 1, error.offset or 1, error.msg)]
    except (ValueError, RecursionError, MemoryError) as error:
        return [_problem(1, 1, f"the source cannot be parsed: {str(error) or 'it is nested too deeply'}")]
    return _function_problems(tree)


def _function_problems(tree: ast.Module) -> list[Problem]:
    found = [node for node in tree.body if FUNCTION in _names(node)]
    if not found:
        return [_problem(1, 1, "no function grade(sample, item) at the top level")]
    node = found[-1]
    if isinstance(node, ast.AsyncFunctionDef):
        return [_problem(node.lineno, node.col_offset + 1, "grade must be a plain function, not async")]
    if isinstance(node, ast.FunctionDef) and not _takes_two(node.args):
        return [_problem(node.lineno, node.col_offset + 1, "grade must take two arguments: sample, item")]
    return []


def _names(node: ast.stmt) -> list[str]:
    """The names that a top-level statement gives a value."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _takes_two(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    keywords_without_default = [default for default in arguments.kw_defaults if default is None]
    most = 2 if arguments.vararg else positional
    return required <= 2 <= most and not keywords_without_default


def _problem(line: int, column: int, message: str) -> Problem:
    return {"line": line, "column": column, "message": message}
