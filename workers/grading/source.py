"""Static checks of a Python grader: its source is parsed here, never executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from threading import Lock
from typing import TypedDict

from workers.contract.graders import MAX_PYTHON_SOURCE_BYTES

FUNCTION = "grade"

# Python 3.11 searches the whole f-string for each of its fields: this bounds the time to about a second.
MAX_FSTRING_WORK = 1_000_000_000
_FSTRING = re.compile(r"""[fF][rR]?["']""")


_PARSING = Lock()


def parse_python(source: str) -> ast.Module:
    """Parse Python as ``ast.parse`` does, one thread at a time.

    CPython 3.11 counts the depth of nodes for all threads together: two that parse at the same time fail with
    a SystemError.
    """
    with _PARSING:
        return ast.parse(source)


class Problem(TypedDict):
    """``line`` and ``column`` are 1-based."""

    line: int
    column: int
    message: str


def python_problems(source: str) -> list[Problem]:
    """Return why ``source`` cannot grade: size, syntax, or no ``grade(sample, item)``. Empty if it can."""
    try:
        return _function_problems(parse_source(source, MAX_PYTHON_SOURCE_BYTES))
    except SourceInvalid as error:
        return [error.problem]


class SourceInvalid(ValueError):
    """The source is too long or cannot be parsed."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem["message"])
        self.problem = problem


def parse_source(source: str, most_bytes: int) -> ast.Module:
    """Parse the source of a stranger within bounds. Raises ``SourceInvalid``."""
    size = len(source.encode("utf-8", "surrogatepass"))
    if size >= most_bytes:
        raise SourceInvalid(_problem(1, 1, f"the source has {size} bytes; the limit is {most_bytes}"))
    if _FSTRING.search(source) and size * source.count("{") > MAX_FSTRING_WORK:
        message = "too many '{' beside f-strings for a source this long; shorten it"
        raise SourceInvalid(_problem(1, 1, message))
    try:
        return parse_python(source)
    except SyntaxError as error:
        raise SourceInvalid(_problem(error.lineno or 1, error.offset or 1, error.msg)) from error
    except (ValueError, RecursionError, MemoryError) as error:
        message = f"the source cannot be parsed: {str(error) or 'it is nested too deeply'}"
        raise SourceInvalid(_problem(1, 1, message)) from error


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
    """Return the names that a top-level statement assigns."""
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


# --- what the sandbox needs to know -----------------------------------------------------------------

# Imported before the sandbox is locked, so only modules whose import has no side effects.
WARM_MODULES = {
    "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "deepdiff", "difflib", "enum",
    "fractions", "functools", "heapq", "html", "itertools", "jsonschema", "latex2sympy2_extended",
    "math_verify", "nltk", "numpy", "operator", "pandas", "pydantic", "rapidfuzz", "regex", "rouge_score",
    "scipy", "sklearn", "sqlite3", "sqlparse", "statistics", "string", "sympy", "textwrap", "typing",
    "unicodedata", "yaml",
}  # fmt: skip
MUTATORS = {
    "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem",
    "popleft", "remove", "reverse", "setdefault", "sort", "subtract", "update", "write",
}  # fmt: skip
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def warm_imports(source: str) -> list[str]:
    """Return the imported modules that may be imported in advance."""
    names: set[str] = set()
    for node in ast.walk(parse_python(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return sorted(names & WARM_MODULES)


def keeps_state(source: str) -> bool:
    """Return True if a function seems to change state that outlives its call: a global, or a default."""
    tree = parse_python(source)
    top = {name for node in tree.body for name in _bound(node)}
    functions = [node for node in ast.walk(tree) if isinstance(node, _Function)]
    return any(_changes(function, top) for function in functions) or _makes_state(tree)


def _makes_state(tree: ast.Module) -> bool:
    """Return True if the top level calls an own function or class that keeps state."""
    rest = [node for node in tree.body if not isinstance(node, _Function | ast.ClassDef)]
    calls = [call for node in rest for call in ast.walk(node) if isinstance(call, ast.Call)]
    made = {find_root(call.func) for call in calls}
    own = [node for node in tree.body if isinstance(node, _Function | ast.ClassDef) and node.name in made]
    return any(_keeps(node) for maker in own for node in ast.walk(maker))


def _keeps(node: ast.AST) -> bool:
    """Return True for ``nonlocal``, or a method other than ``__init__`` that changes its own object."""
    if isinstance(node, ast.Nonlocal):
        return True
    if not isinstance(node, ast.ClassDef):
        return False
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    return any(
        find_root(find_changed(part)) == method.args.args[0].arg
        for method in methods
        if method.args.args and method.name != "__init__"
        for part in ast.walk(method)
    )


def _bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a top-level statement binds, without modules."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif not isinstance(node, ast.Import | ast.ImportFrom):
        stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        yield from (name.id for name in stored)


def _changes(function: _Function, top: set[str]) -> bool:
    defaults = [*function.args.defaults, *filter(None, function.args.kw_defaults)]
    if any(isinstance(default, ast.List | ast.Dict | ast.Set | ast.Call) for default in defaults):
        return True
    nodes = list(ast.walk(function))
    local = {node.arg for node in nodes if isinstance(node, ast.arg)}
    local |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return any(isinstance(node, ast.Global) or find_root(find_changed(node)) in top - local for node in nodes)


def find_changed(node: ast.AST) -> ast.expr | None:
    """Return the expression whose value ``node`` changes in place, if it does."""
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        return node.func.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "next":
        return next(iter(node.args), None)
    return None


def find_root(node: ast.expr | None) -> str | None:
    """Return the name at the beginning of ``name.x[0].y``."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
