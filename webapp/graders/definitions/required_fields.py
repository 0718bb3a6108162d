"""Compare the fields that a grader requires with the fields that a dataset's rows have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from webapp.datasets.models import DatasetVersion
from webapp.graders.definitions.parsing import find_item_argument, is_name, walk_texts
from webapp.graders.models import GraderVersion
from workers.contract.json_types import JsonObject
from workers.grading.source import parse_python
from workers.grading.template import Reference, TemplateInvalid, parse_template

Path = tuple[str | int, ...]
MOST_LACKING = 0.05  # share of rows; the preflight advises against training from here on
MOST_NAMED = 8


@dataclass(frozen=True)
class Lack:
    """A field that a grader reads and rows lack. ``refused`` if too many lack it to start a job."""

    message: str
    refused: bool


def find_lacks(grader: GraderVersion, version: DatasetVersion) -> list[Lack]:
    """Return the fields that the grader reads and rows lack; none if the dataset's report does not tell."""
    report = version.report
    if "fields" not in report or report.get("left_out"):
        return []
    fields = {field["name"]: field["types"] for field in report["fields"]}
    found = (_find_lack(grader, version, path, fields) for path in find_required_paths(grader.definition))
    return list(dict.fromkeys(lack for lack in found if lack))


def find_refusal(grader: GraderVersion, version: DatasetVersion) -> str:
    """Return why no job may start on these rows with this grader; empty if one may."""
    return " ".join(lack.message for lack in find_lacks(grader, version) if lack.refused)


def _find_lack(
    grader: GraderVersion, version: DatasetVersion, path: Path, fields: dict[str, dict[str, int]]
) -> Lack | None:
    types = fields.get(str(path[0]), {})
    # The report knows the types of whole fields: a path that goes deeper needs an object or a list.
    container = {str: "object", int: "list"}
    having = types.get(container[type(path[1])], 0) if len(path) > 1 else sum(types.values())
    lacking = version.rows - having
    if lacking <= 0:
        return None
    refused = lacking > MOST_LACKING * version.rows
    name = "item" + "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in path)
    some = f"only {having:,}" if having else "none"
    have = "have" if having else "has"
    rows = f"{some} of the {version.rows:,} rows of {version}"
    message = f"The grader {grader} reads {name}, which {rows} {have}."
    remedy = (
        "Choose another dataset or grader, or save a grader version that reads one of these fields."
        if refused
        else "Answers to the other rows are not graded."
    )
    return Lack(f"{message} {_describe_fields(list(fields))} {remedy}", refused)


def _describe_fields(names: list[str]) -> str:
    if not names:
        return "Its rows have messages only."
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"Its fields: {', '.join(names[:MOST_NAMED])}{more}."


# --- fields that a grader reads ---------------------------------------------------------------------


def find_required_paths(definition: JsonObject) -> list[Path]:
    """Return the paths into ``item`` without which a row is not graded, of templates and Python source.

    Python that looks first (``item.get("x")``, ``"x" in item``, ``if``, ``try``) requires nothing.
    """
    found: list[Path] = []
    for key, text in walk_texts(definition):
        if key == "source":
            found += [(name,) for name in _find_subscripts(text)]
        else:
            found += _find_template_paths(text)
    return list(dict.fromkeys(found))


def _find_template_paths(text: str) -> list[Path]:
    try:
        pieces = parse_template(text).pieces
    except TemplateInvalid:  # a text that is no template
        return []
    return [
        piece.path
        for piece in pieces
        if isinstance(piece, Reference) and piece.namespace == "item" and piece.path
    ]


def _find_subscripts(source: str) -> list[str]:
    tree = parse_python(source)
    name = find_item_argument(tree)
    guarded = {id(inner) for branch in _walk_branches(tree) for inner in ast.walk(branch)}
    optional = set(_find_optional_keys(tree, name))
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


def _walk_branches(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of the source that do not run for every row, or whose errors are caught."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp):
            parts = [node.body, node.orelse]
            yield from (each for part in parts for each in (part if isinstance(part, list) else [part]))
        elif isinstance(node, ast.Try | ast.match_case):
            yield node
        elif isinstance(node, ast.BoolOp):
            yield from node.values[1:]


def _find_optional_keys(tree: ast.AST, name: str) -> Iterator[object]:
    """Yield the keys that the source asks for before it reads them, or that it writes itself."""
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
