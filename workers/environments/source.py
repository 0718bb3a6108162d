"""Static reading of an environment's source: its class and its tools. It is parsed here, never executed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workers.contract.environments import MAX_ENVIRONMENT_SOURCE_BYTES
from workers.contract.json_types import JsonObject
from workers.environments.backend import EnvironmentFault
from workers.environments.tools import describe_tool
from workers.grading.source import Problem, SourceInvalid, find_changed, find_root, keeps_state, parse_source

REQUIRED = ("list_splits", "list_tasks", "reset", "get_reward")
CLASS_LEVEL = {"list_splits", "list_tasks"}
OPTIONAL = {"_finished", "_feedback", "_oracle", "_user", "_turn_reward"}
ARGUMENTS = {
    "list_splits": 0, "list_tasks": 1, "get_reward": 0, "_finished": 0, "_feedback": 0, "_oracle": 0,
    "_user": 1, "_turn_reward": 0,
}  # fmt: skip
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.Call)


@dataclass(frozen=True)
class EnvironmentClass:
    """What the source says about its class. ``optional`` are the optional methods that it has.

    ``shares_state``: methods seem to change what sessions of one process would share.
    """

    name: str
    tools: list[JsonObject]
    optional: frozenset[str]
    shares_state: bool


def read_class(source: str) -> EnvironmentClass:
    """Return the environment's class. Raises ``EnvironmentFault`` for the first thing that is wrong."""
    try:
        tree = parse_source(source, MAX_ENVIRONMENT_SOURCE_BYTES)
    except SourceInvalid as error:
        problem = error.problem
        raise EnvironmentFault(problem["message"], "Correct the line.", problem["line"]) from error
    try:
        return _read_tree(tree, source)
    except RecursionError as error:
        raise EnvironmentFault("the source is nested too deeply", "Write shorter expressions.") from error


def _read_tree(tree: ast.Module, source: str) -> EnvironmentClass:
    node = _find_class(tree)
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    for fault in _find_faults(node, methods):
        raise fault
    aliases = _find_aliases(tree)
    tools = [describe_tool(method, aliases) for method in _find_tools(methods)]
    return EnvironmentClass(
        node.name, tools, frozenset(OPTIONAL & methods.keys()), keeps_state(source) or _shares_state(node)
    )


def find_problems(source: str) -> list[Problem]:
    """Return why the source is no environment, for an editor. Empty if it is one."""
    try:
        read_class(source)
    except EnvironmentFault as fault:
        return [{"line": fault.line or 1, "column": 1, "message": f"{fault.cause}. {fault.remedy}"}]
    return []


def _find_class(tree: ast.Module) -> ast.ClassDef:
    public = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    found = [node for node in public if {"reset", "get_reward"} <= _list_names(node)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(node.name for node in found)
        raise EnvironmentFault(
            f"several classes have reset and get_reward: {names}",
            "Keep one, and begin the names of the others with an underscore.",
            found[1].lineno,
        )
    raise EnvironmentFault(
        "no public class has the methods reset and get_reward",
        "Write one class with list_splits, list_tasks, reset, get_reward and a public method for each tool.",
        public[0].lineno if public else 1,
    )


def _list_names(node: ast.ClassDef) -> set[str]:
    return {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def _find_faults(node: ast.ClassDef, methods: dict[str, ast.FunctionDef]) -> Iterator[EnvironmentFault]:
    if [base for base in node.bases if find_root(base) != "object"] or node.keywords or node.decorator_list:
        cause = f"class {node.name} has a base class, a metaclass or a decorator"
        yield EnvironmentFault(cause, f"Write a plain class: class {node.name}:", node.lineno)
    for each in node.body:
        if isinstance(each, ast.AsyncFunctionDef):
            yield EnvironmentFault(f"{each.name} is async", "Write it as a plain def.", each.lineno)
    for name in REQUIRED:
        if name not in methods:
            cause = f"class {node.name} has no method {name}"
            yield EnvironmentFault(cause, f"Add {name}; see docs/environments.md.", node.lineno)
    for method in methods.values():
        yield from _find_method_faults(method)


def _find_method_faults(method: ast.FunctionDef) -> Iterator[EnvironmentFault]:
    name, decorators = method.name, [ast.unparse(each) for each in method.decorator_list]
    if name in CLASS_LEVEL:
        if decorators not in (["classmethod"], ["staticmethod"]):
            yield EnvironmentFault(f"{name} is no class method", "Put @classmethod above it.", method.lineno)
    elif decorators and (name in (*REQUIRED, *OPTIONAL) or not name.startswith("_")):
        cause = f"{name} has the decorator @{decorators[0]}"
        yield EnvironmentFault(cause, "Remove it, or begin the name with an underscore.", method.lineno)
    given = [*method.args.posonlyargs, *method.args.args]
    expected = ARGUMENTS.get(name)
    bound = 0 if decorators == ["staticmethod"] else 1
    if expected is not None and len(given) - bound != expected:
        cause = f"{name} takes {len(given) - bound} arguments"
        yield EnvironmentFault(cause, f"It must take {expected} beside self or cls.", method.lineno)


def _find_tools(methods: dict[str, ast.FunctionDef]) -> Iterable[ast.FunctionDef]:
    return [each for name, each in methods.items() if not name.startswith("_") and name not in REQUIRED]


def _find_aliases(tree: ast.Module) -> dict[str, ast.expr]:
    """Return what top-level names stand for, so that hints may name them."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


# --- state -----------------------------------------------------------------------------------------


def _shares_state(node: ast.ClassDef) -> bool:
    """Return True if a method seems to change an attribute of the class, or an object that one holds."""
    mutable = {
        target.id
        for each in node.body
        if isinstance(each, ast.Assign | ast.AnnAssign) and isinstance(each.value, MUTABLE)
        for target in (each.targets if isinstance(each, ast.Assign) else [each.target])
        if isinstance(target, ast.Name)
    }
    changed = [each for part in ast.walk(node) if (each := find_changed(part)) is not None]
    return any(_names_class(each) or _list_attributes(each) & mutable for each in changed)


def _names_class(node: ast.expr) -> bool:
    return any(
        (isinstance(part, ast.Name) and part.id in ("cls", "type", "vars", "globals"))
        or (isinstance(part, ast.Attribute) and part.attr == "__class__")
        for part in ast.walk(node)
    )


def _list_attributes(node: ast.expr) -> set[str]:
    return {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
