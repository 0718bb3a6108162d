"""Distinct labels for the options of a select."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any


def build_distinct_labels(objects: Iterable[Any], describe: Callable[[Any], str] = str) -> dict[Any, str]:
    """Return labels by primary key. Equal labels get the public id appended."""
    labels = {each.pk: (describe(each), each.uid) for each in objects}
    count = Counter(label for label, _ in labels.values())
    return {pk: label if count[label] == 1 else f"{label}, {uid}" for pk, (label, uid) in labels.items()}
