"""The expected answer of a row, and what else its grader reads there. The same on every page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .reading import REFERENCE_NAMES, item_fields, text_of

Json = dict[str, Any]
MOST_TIMES_LONGER = 4  # a word difference of texts of more unequal lengths marks nearly everything


@dataclass(frozen=True)
class Expected:
    """The answer that earns full marks. ``source`` says which part of the row it is."""

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


def reference_reader(definition: Json, chosen: str = "") -> Reader:
    """Return a function from a row's fields to its reference, for a grader's definition.

    ``chosen`` is the field that the grader's page names; otherwise the name of a field that the grader reads
    tells, then a field that it reads alone, then the name of any field of the row.
    """
    read = item_fields(definition)

    def reader(item: Mapping[str, Any]) -> RowReference:
        texts = {name: text for name in item if (text := text_of({"item": dict(item)}, name)) is not None}
        name = _expected_field(chosen, [each for each in read if each in texts], texts)
        others = [(each, texts[each]) for each in read if each in texts and each != name]
        return RowReference(Expected(f"item.{name}", texts[name]) if name else None, others)

    return reader


def _expected_field(chosen: str, read: list[str], texts: Mapping[str, str]) -> str:
    """The field with the expected answer; empty if nothing tells it."""
    if chosen in texts:
        return chosen
    by_name = [name for name in REFERENCE_NAMES if name in read]
    alone = read if len(read) == 1 else []
    unread = [] if read else [name for name in REFERENCE_NAMES if name in texts]
    return next(iter([*by_name, *alone, *unread]), "")
