"""Fields that a grader must find in every row, compared with the fields that a dataset's rows have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from webapp.datasets.models import DatasetVersion
from webapp.graders.definitions.parsing import grade_argument, is_name, texts
from webapp.graders.models import GraderVersion
from workers.grading.template import Reference, TemplateInvalid, parse_template

Json = dict[str, Any]
Path = tuple[str | int, ...]
MOST_LACKING = 0.05  # share of rows; the preflight advises against training from here on
NAMED = 8


@dataclass(frozen=True)
class Lack:
    """A field that a grader reads and rows lack. ``refused`` if too many lack it to start a job."""

    message: str
    refused: bool


def find_lacks(grader: GraderVersion, version: DatasetVersion) -> list[Lack]:
    """What the grader reads and the rows lack; empty where the dataset's report does not tell."""
    report = version.report
    if "fields" not in report or report.get("left_out"):
        return []
    fields = {field["name"]: field["types"] for field in report["fields"]}
    found = (_lack(grader, version, path, fields) for path in required_paths(grader.definition))
    return list(dict.fromkeys(lack for lack in found if lack))


def refusal(grader: GraderVersion, version: DatasetVersion) -> str:
    """Why no job may start on these rows with this grader; empty if it may."""
    return " ".join(lack.message for lack in find_lacks(grader, version) if lack.refused)


def _lack(
    grader: GraderVersion, version: DatasetVersion, path: Path, fields: dict[str, dict[str, int]]
) -> Lack | None:
    types = fields.get(str(path[0]), {})
    entered = {str: "object", int: "list"}
    fit = types.get(entered[type(path[1])], 0) if len(path) > 1 else sum(types.values())
    lacking = version.rows - fit
    if lacking <= 0:
        return None
    shown = "item" + "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in path)
    whom = f"none of the {version.rows:,} rows" if not fit else f"only {fit:,} of the {version.rows:,} rows"
    refused = lacking > MOST_LACKING * version.rows
    message = f"The grader {grader} reads {shown}, which {whom} of {version} {'has' if not fit else 'have'}."
    return Lack(f"{message} {_offer(list(fields))} {_remedy(refused)}", refused)


def _offer(names: list[str]) -> str:
    if not names:
        return "Its rows have messages only."
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"Its fields: {', '.join(names[:NAMED])}{more}."


def _remedy(refused: bool) -> str:
    if not refused:
        return "Answers to the other rows are not graded."
    return "Choose another dataset or grader, or save a grader version that reads one of these fields."


# --- what it reads ---------------------------------------------------------------------------------


def required_paths(definition: Json) -> list[Path]:
    """Paths into ``item`` without which a row is not graded: of templates, and ``item["x"]`` in Python.

    Python that looks first (``item.get("x")``, ``"x" in item``, ``if``, ``try``) requires nothing.
    """
    found: list[Path] = []
    for key, text in texts(definition):
        found += [(name,) for name in _subscripts(text)] if key == "source" else _references(text)
    return list(dict.fromkeys(found))


def _references(text: str) -> list[Path]:
    try:
        pieces = parse_template(text).pieces
    except TemplateInvalid:  # a text that is no template
        return []
    return [
        piece.path
        for piece in pieces
        if isinstance(piece, Reference) and piece.namespace == "item" and piece.path
    ]


def _subscripts(source: str) -> list[str]:
    tree = ast.parse(source)
    name = grade_argument(tree)
    guarded = {id(inner) for branch in _branches(tree) for inner in ast.walk(branch)}
    optional = set(_looked_up(tree, name))
    read = [
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and is_name(node.value, name)
        and isinstance(node.slice, ast.Constant)
        and id(node) not in guarded
    ]
    return [each for each in read if isinstance(each, str) and each not in optional]


def _branches(tree: ast.AST) -> Iterator[ast.AST]:
    """Parts of the source that do not run for every row, or whose errors are caught."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp):
            parts = [node.body, node.orelse]
            yield from (each for part in parts for each in (part if isinstance(part, list) else [part]))
        elif isinstance(node, ast.Try | ast.match_case):
            yield node
        elif isinstance(node, ast.BoolOp):
            yield from node.values[1:]


def _looked_up(tree: ast.AST, name: str) -> Iterator[Any]:
    """Keys that the source asks for before it reads them, or writes itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant):
            if any(is_name(each, name) for each in node.comparators):
                yield node.left.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if is_name(node.func.value, name) and node.args and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value
        elif (
            isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and is_name(node.value, name)
        ):
            yield node.slice.value if isinstance(node.slice, ast.Constant) else None
