"""The expected answer to a row, and the other fields that its grader reads. The same on every page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from webapp.graders.definitions.full_marks import FullAnswer, guess_full_answer
from webapp.graders.definitions.parsing import field_as_text, find_item_fields
from webapp.graders.models import Grader
from webapp.graders.trials.row_selection import find_full_answer
from workers.contract.json_types import JsonObject

MOST_TIMES_LONGER = 4  # a word diff of texts of more unequal lengths marks nearly everything


@dataclass(frozen=True)
class Expected:
    """The answer that earns full marks; ``source`` is its field or template."""

    source: str
    text: str


@dataclass(frozen=True)
class RowReference:
    """``fields`` are the other parts of the row that the grader reads: (name, text)."""

    expected: Expected | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)

    def is_comparable(self, answer: str) -> bool:
        """Return True if a word diff of the expected answer and this one is worth showing."""
        if self.expected is None or not answer.strip():
            return False
        shorter, longer = sorted((len(self.expected.text), len(answer)))
        return longer <= MOST_TIMES_LONGER * max(shorter, 1) and self.expected.text != answer


Reader = Callable[[JsonObject], RowReference]


def reference_reader(definition: JsonObject, grader: Grader | None = None) -> Reader:
    """Return a function from a row's fields to its reference, for a grader's definition.

    The settings of ``grader`` tell what earns full marks; without them it is guessed from the definition.
    """
    read = find_item_fields(definition)

    @cache
    def full_answer(fields: tuple[str, ...]) -> FullAnswer:
        if grader is None:
            return guess_full_answer(definition, list(fields))
        return find_full_answer(grader, definition, list(fields))

    def reader(item: JsonObject) -> RowReference:
        full = full_answer(tuple(name for name in item if item[name] is not None))
        text = full.fill(item) if full else None
        expected = None if text is None else Expected(f"item.{full.field}" if full.field else str(full), text)
        others = [name for name in read if not (expected and name == full.field)]
        known = [(name, field_as_text(item, name)) for name in others]
        return RowReference(expected, [(name, text) for name, text in known if text is not None])

    return reader
