"""The expected answer of a row, and what else its grader reads there. The same on every page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from webapp.graders.definitions.full_marks import FullAnswer, guess
from webapp.graders.definitions.parsing import item_fields, text_of
from webapp.graders.models import Grader
from webapp.graders.trials.row_selection import full_answer_of

Json = dict[str, Any]
MOST_TIMES_LONGER = 4  # a word difference of texts of more unequal lengths marks nearly everything


@dataclass(frozen=True)
class Expected:
    """The answer that earns full marks. ``source`` is the field or the template that it is made of."""

    source: str
    text: str


@dataclass(frozen=True)
class RowReference:
    """``fields`` are the other parts of the row that the grader reads: (name, text)."""

    expected: Expected | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)

    def is_comparable(self, answer: str) -> bool:
        """Return whether a word difference between the expected answer and this one is worth showing."""
        if self.expected is None or not answer.strip():
            return False
        shorter, longer = sorted((len(self.expected.text), len(answer)))
        return longer <= MOST_TIMES_LONGER * max(shorter, 1) and self.expected.text != answer


Reader = Callable[[Mapping[str, Any]], RowReference]


def reference_reader(definition: Json, grader: Grader | None = None) -> Reader:
    """Return a function from a row's fields to its reference, for a grader's definition.

    What a full-marks answer is, the grader's page says; without that, the definition lets guess it.
    """
    read = item_fields(definition)

    @cache
    def full_answer(fields: tuple[str, ...]) -> FullAnswer:
        if grader is None:
            return guess(definition, list(fields))
        return full_answer_of(grader, definition, list(fields))

    def reader(item: Mapping[str, Any]) -> RowReference:
        row = {"item": dict(item)}
        full = full_answer(tuple(name for name in item if item[name] is not None))
        text = full.fill(row) if full else None
        expected = None if text is None else Expected(f"item.{full.field}" if full.field else str(full), text)
        others = [name for name in read if not (expected and name == full.field)]
        known = [(name, text_of(row, name)) for name in others]
        return RowReference(expected, [(name, text) for name, text in known if text is not None])

    return reader
