"""What a benchmark says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """``value`` is the median of ``runs``; ``goal`` is the largest value that still ``holds``."""

    benchmark: str
    value: float
    unit: str
    goal: float
    runs: list[float]
    note: str

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        note = values.pop("note")
        runs = values.pop("runs")
        return {**values, "holds": self.value <= self.goal, "runs": runs, "note": note}
