"""Profile of a dataset's fields, gathered row by row in bounded memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from webapp.datasets.content.limits import MAX_FIELDS
from webapp.datasets.content.rows import Row

if TYPE_CHECKING:
    from webapp.datasets.reports import FieldReport, Profile, Spread
    from workers.contract.json_types import JsonValue

MOST_VALUES = 20
LONGEST_VALUE = 60
LARGEST = 1e150  # sums of larger numbers might overflow
KINDS = {bool: "true/false", int: "number", float: "number", str: "text", list: "list", dict: "object"}


class SpreadCounter:
    """Minimum, mean and maximum of the numbers added so far."""

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self.least, self.greatest = float("inf"), float("-inf")

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.least, self.greatest = min(self.least, value), max(self.greatest, value)

    def as_json(self) -> Spread | None:
        if not self.count:
            return None
        return {"min": self.least, "mean": round(self.total / self.count, 3), "max": self.greatest}


class FieldCounter:
    """One field over all rows: types, spread of numbers or text lengths, frequent values."""

    def __init__(self) -> None:
        self.present = 0
        self.types: Counter[str] = Counter()
        self.numbers, self.lengths = SpreadCounter(), SpreadCounter()
        self.values: Counter[str] | None = Counter()

    def add(self, value: JsonValue) -> None:
        self.present += value is not None
        self.types[KINDS.get(type(value), "null")] += 1
        if isinstance(value, str):
            self.lengths.add(len(value))
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
            self.numbers.add(value)
        if value is not None:
            self._count_value(value)

    def _count_value(self, value: JsonValue) -> None:
        """Count values while they are few and short, like categories; then give up for good."""
        if self.values is None:
            return
        if isinstance(value, list | dict) or len(str(value)) > LONGEST_VALUE:
            self.values = None
            return
        self.values[str(value)] += 1
        if len(self.values) > MOST_VALUES:
            self.values = None

    def as_json(self, name: str) -> FieldReport:
        return {
            "name": name,
            "present": self.present,
            "types": dict(self.types.most_common()),
            "numbers": self.numbers.as_json(),
            "lengths": self.lengths.as_json(),
            "values": self.values.most_common() if self.values else None,
        }


class FieldProfile:
    """All fields of a dataset and the size of its prompts."""

    def __init__(self) -> None:
        self.fields: dict[str, FieldCounter] = {}
        self.prompt_lengths, self.messages = SpreadCounter(), SpreadCounter()
        self.left_out = 0

    def add(self, row: Row) -> None:
        self.prompt_lengths.add(sum(len(message.get("content") or "") for message in row.messages))
        self.messages.add(len(row.messages))
        for name, value in row.item.items():
            if name in self.fields:
                self.fields[name].add(value)
            elif len(self.fields) < MAX_FIELDS:
                self.fields[name] = FieldCounter()
                self.fields[name].add(value)
            else:
                self.left_out += 1

    def as_json(self) -> Profile:
        return {
            "prompt_characters": self.prompt_lengths.as_json(),
            "messages": self.messages.as_json(),
            "fields": [field.as_json(name) for name, field in self.fields.items()],
            "left_out": self.left_out,
        }
