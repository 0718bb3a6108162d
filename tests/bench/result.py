"""Results of benchmarks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """``value`` summarises ``runs``, by their median unless the note says otherwise.

    ``goal`` is the largest value that still ``holds``, or the smallest with ``at_least``.
    """

    benchmark: str
    value: float
    unit: str
    goal: float
    runs: list[float]
    note: str
    at_least: bool = False

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        note, runs, at_least = values.pop("note"), values.pop("runs"), values.pop("at_least")
        holds = self.value >= self.goal if at_least else self.value <= self.goal
        return {**values, "holds": holds, "runs": runs, "note": note}
