"""The answer that earns full marks: a template that somebody set, or that the definition suggests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from webapp.graders.definitions.parsing import REFERENCE_NAMES, field_as_text, find_item_fields
from workers.contract.json_types import JsonObject, JsonValue
from workers.grading import KINDS
from workers.grading.results import GradingFault, Subject
from workers.grading.template import Reference, Template, TemplateInvalid, parse_template

Path = tuple[str | int, ...]
REWARDING_OPERATIONS = {"eq", "like", "ilike"}


@dataclass(frozen=True)
class FullAnswer:
    """Makes the answer to a row: from a template, or as a JSON object with a template for each path."""

    template: str = ""
    parts: dict[Path, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.template or self.parts)

    def __str__(self) -> str:
        """The template, or the JSON with templates in place of values."""
        if self.template or not self.parts:
            return self.template
        parts = (f'"{".".join(map(str, path))}": {text}' for path, text in self.parts.items())
        return "{" + ", ".join(parts) + "}"

    @property
    def field(self) -> str:
        """The field that holds the whole answer; empty if several do."""
        only = _single_reference(self.template)
        return str(only.path[0]) if only and len(only.path) == 1 else ""

    def fill(self, item: JsonObject) -> str | None:
        """Return the answer to a row with these fields; None if one is missing."""
        try:
            if self.template:
                return field_as_text({"value": _fill_value(self.template, item)}, "value")
            answer: JsonObject = {}
            for path, template in self.parts.items():
                _set_at(answer, path, _fill_value(template, item))
        except GradingFault:
            return None
        return json.dumps(answer, ensure_ascii=False)


def from_field(name: str) -> FullAnswer:
    """Return the answer that one field holds; an empty one without a name that a template can write."""
    return FullAnswer(_name_field(name)) if name else FullAnswer()


def _name_field(name: str) -> str:
    """Return the template of a field; empty if no template can write its name, such as one with ``}}``."""
    for quote in ('"', "'"):
        template = f"{{{{item[{quote}{name}{quote}]}}}}"
        reference = _single_reference(template)
        if reference and reference.path == (name,):
            return template
    return ""


def guess_full_answer(definition: JsonObject, fields: list[str]) -> FullAnswer:
    """Guess the answer by the references that the grader compares with, else by the fields that it reads."""
    found = list(_find_comparisons(definition))
    whole = [template for path, template in found if not path]
    if whole:
        return FullAnswer(whole[0])
    parts = {path: template for path, template in found if all(isinstance(step, str) for step in path)}
    return FullAnswer(parts=parts) if parts else _guess_by_fields(definition, fields)


def _find_comparisons(definition: JsonObject) -> Iterator[tuple[Path, str]]:
    """Yield (path in the answer's JSON, reference) of every comparison; no path is the whole answer."""
    if definition.get("type") == "multi":
        graders = definition.get("graders")  # a map by name, or, as it may be written, a list
        for part in graders.values() if isinstance(graders, dict) else cast(list[JsonValue], graders or []):
            yield from _find_comparisons(cast(JsonObject, part))
    elif definition.get("type") == "rubric":
        for criterion in cast(list[JsonObject], definition.get("criteria", [])):
            yield from _find_comparisons(cast(JsonObject, criterion.get("grader") or {}))
    else:
        yield from _find_own_comparison(definition)


def _find_own_comparison(definition: JsonObject) -> Iterator[tuple[Path, str]]:
    kind, reference = KINDS.get(str(definition.get("type", ""))), definition.get("reference")
    rewarded = kind and kind.rewards_reference and definition.get("operation", "eq") in REWARDING_OPERATIONS
    if not rewarded or not isinstance(reference, str) or not _reads_row_only(reference):
        return
    path = _find_answer_path(str(definition.get("input", "{{sample.output_text}}")))
    if path is not None:
        yield path, reference


def _reads_row_only(template: str) -> bool:
    """Return True if the template names a field of the row, and nothing of the answer."""
    parsed = _parse(template)
    pieces = [piece for piece in parsed.pieces if isinstance(piece, Reference)] if parsed else []
    return bool(pieces) and all(piece.namespace == "item" for piece in pieces)


def _find_answer_path(template: str) -> Path | None:
    """Return which part of the answer ``input`` reads; None if it is no plain reference to the answer."""
    reference = _single_reference(template)
    if reference is None or reference.namespace != "sample":
        return None
    return {"output_text": (), "output_json": reference.path[1:]}.get(str(reference.path[0]))


def _guess_by_fields(definition: JsonObject, fields: list[str]) -> FullAnswer:
    """Return the field with a telling name, else JSON of the fields that the grader reads."""
    read = [name for name in find_item_fields(definition) if name in fields]
    for names in (read, fields if len(read) < 2 else []):
        named = next((name for name in REFERENCE_NAMES if name in names), "")
        if named:
            return from_field(named)
    if len(read) > 1:
        return FullAnswer(parts={(name,): template for name in read if (template := _name_field(name))})
    return from_field(read[0] if read else "")


# --- templates -------------------------------------------------------------------------------------


def _parse(template: str) -> Template | None:
    try:
        return parse_template(template)
    except TemplateInvalid:
        return None


def _single_reference(template: str) -> Reference | None:
    """Return the reference that is the whole template; None if there is more or none."""
    parsed = _parse(template)
    only = parsed.pieces[0] if parsed and len(parsed.pieces) == 1 else None
    return only if isinstance(only, Reference) else None


def _fill_value(template: str, item: JsonObject) -> JsonValue:
    """Return the value itself if the template is one field alone, else the filled text."""
    subject = Subject("", item)
    if reference := _single_reference(template):
        return cast(JsonValue, reference.value(subject))
    return parse_template(template).fill(subject)


def _set_at(answer: JsonObject, path: Path, value: JsonValue) -> None:
    for step in path[:-1]:
        answer = cast(JsonObject, answer.setdefault(str(step), {}))
    answer[str(path[-1])] = value
