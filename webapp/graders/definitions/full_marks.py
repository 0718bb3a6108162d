"""What an answer that earns full marks looks like: a template that is set, or guessed from the grader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from webapp.graders.definitions.parsing import REFERENCE_NAMES, Row, item_fields, text_of
from workers.grading import KINDS
from workers.grading.results import GradingFault, Subject
from workers.grading.template import Reference, Template, TemplateInvalid, parse_template

Json = dict[str, Any]
Path = tuple[str | int, ...]
REWARDING_OPERATIONS = {"eq", "like", "ilike"}


@dataclass(frozen=True)
class FullAnswer:
    """How the answer to a row is made: from a template, or as a JSON object with a template for each path."""

    template: str = ""
    parts: dict[Path, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.template or self.parts)

    def __str__(self) -> str:
        """The template, or the JSON with templates in place of values."""
        if self.template or not self.parts:
            return self.template
        return "{" + ", ".join(f'"{_dotted(path)}": {text}' for path, text in self.parts.items()) + "}"

    @property
    def field(self) -> str:
        """The field that holds the whole answer; empty if it is made of several."""
        parsed = _parsed(self.template) if self.template else None
        only = parsed.pieces[0] if parsed and len(parsed.pieces) == 1 else None
        single = isinstance(only, Reference) and len(only.path) == 1
        return str(only.path[0]) if single and isinstance(only, Reference) else ""

    def fill(self, row: Row) -> str | None:
        """The answer to a row; None where the row lacks a field."""
        try:
            if self.template:
                return _filled(self.template, row)
            answer: Json = {}
            for path, template in self.parts.items():
                _put(answer, path, _value(template, row))
        except GradingFault:
            return None
        return json.dumps(answer, ensure_ascii=False)


def from_field(name: str) -> FullAnswer:
    """The whole answer stands in one field."""
    return FullAnswer(f'{{{{item["{name}"]}}}}') if name else FullAnswer()


def guess(definition: Json, fields: list[str]) -> FullAnswer:
    """By the references that the grader compares with, else by the fields that its code reads."""
    found = list(_demands(definition))
    whole = [template for path, template in found if not path]
    if whole:
        return FullAnswer(whole[0])
    parts = {path: template for path, template in found if all(isinstance(step, str) for step in path)}
    return FullAnswer(parts=parts) if parts else _by_fields(definition, fields)


def _demands(definition: Json) -> Iterator[tuple[Path, str]]:
    """(path in the answer's JSON, reference) of every comparison; an empty path is the whole answer."""
    if definition.get("type") == "multi":
        graders = definition.get("graders")
        for part in graders.values() if isinstance(graders, dict) else graders or []:
            yield from _demands(part)
    elif definition.get("type") == "rubric":
        for criterion in definition.get("criteria", []):
            yield from _demands(criterion.get("grader") or {})
    else:
        yield from _demand(definition)


def _demand(definition: Json) -> Iterator[tuple[Path, str]]:
    kind, reference = KINDS.get(definition.get("type", "")), definition.get("reference")
    rewarded = kind and kind.rewards_reference and definition.get("operation", "eq") in REWARDING_OPERATIONS
    if not rewarded or not isinstance(reference, str) or not _of_row(reference):
        return
    path = _path(definition.get("input", "{{sample.output_text}}"))
    if path is not None:
        yield path, reference


def _of_row(template: str) -> bool:
    """True if the template names a field of the row, and nothing of the answer."""
    pieces = _pieces(template)
    return bool(pieces) and all(piece.namespace == "item" for piece in pieces)


def _path(template: str) -> Path | None:
    """Where in the answer ``input`` looks; None if it is no plain reference to the answer."""
    parsed = _parsed(template)
    if parsed is None or len(parsed.pieces) != 1 or not isinstance(parsed.pieces[0], Reference):
        return None
    reference = parsed.pieces[0]
    if reference.namespace != "sample":
        return None
    return {"output_text": (), "output_json": reference.path[1:]}.get(str(reference.path[0]))


def _by_fields(definition: Json, fields: list[str]) -> FullAnswer:
    """The field whose name gives it away, else JSON of the fields that the grader reads."""
    read = [name for name in item_fields(definition) if name in fields]
    for names in (read, fields if len(read) < 2 else []):
        named = next((name for name in REFERENCE_NAMES if name in names), "")
        if named:
            return from_field(named)
    if len(read) > 1:
        return FullAnswer(parts={(name,): f'{{{{item["{name}"]}}}}' for name in read})
    return from_field(read[0] if read else "")


# --- templates -------------------------------------------------------------------------------------


def _parsed(template: str) -> Template | None:
    try:
        return parse_template(template)
    except TemplateInvalid:
        return None


def _pieces(template: str) -> list[Reference]:
    parsed = _parsed(template)
    return [piece for piece in parsed.pieces if isinstance(piece, Reference)] if parsed else []


def _filled(template: str, row: Row) -> str | None:
    """A template of one field alone gives that field as a model would write it."""
    value = _value(template, row)
    return text_of({"item": {"value": value}}, "value")


def _value(template: str, row: Row) -> Any:
    """The value itself where the template is one field alone, else the filled text."""
    parsed, subject = parse_template(template), Subject("", row["item"])
    if len(parsed.pieces) == 1 and isinstance(parsed.pieces[0], Reference):
        return parsed.pieces[0].value(subject)
    return parsed.fill(subject)


def _put(answer: Json, path: Path, value: Any) -> None:
    for step in path[:-1]:
        answer = answer.setdefault(str(step), {})
    answer[str(path[-1])] = value


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
