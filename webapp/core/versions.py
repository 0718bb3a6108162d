"""Numbered versions of an object: which one a page compares with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Numbered(Protocol):
    """A version of an object."""

    number: int


V = TypeVar("V", bound=Numbered)


def find_compared(others: Sequence[V], selected: Numbered, number: str) -> V | None:
    """Return the version to compare with: the one asked for, else the one before; ``none`` is neither.

    ``others`` are the newest first.
    """
    if number == "none":
        return None
    requested = [other for other in others if str(other.number) == number]
    before = [other for other in others if other.number < selected.number]
    return next(iter(requested or before), None)
