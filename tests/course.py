"""What a run's course is, and what of its metrics depends on the machine alone."""

from __future__ import annotations

from collections.abc import Mapping

CLOCKS = ("time", "per_second", "memory", "busy")


def without_clocks(values: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a step that a repeated run must give again, bit for bit on a CPU."""
    return {name: value for name, value in values.items() if not any(clock in name for clock in CLOCKS)}
