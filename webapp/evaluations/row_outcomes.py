"""Rows won, tied and lost: the share of wins among the decided rows, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.jobs.models import Evaluation
from workers.contract.statistics import wilson

FEW_DECIDED = 10  # fewer cannot tell, even if all are won: docs/statistics.md


@dataclass(frozen=True)
class Part:
    """A segment of the bar; ``start`` and ``width`` are CSS percentages."""

    name: str
    kind: str
    count: int
    share: float
    start: str
    width: str


@dataclass(frozen=True)
class Outcomes:
    """``won`` is the share of the decided rows that the tuned model won; ``None`` if all were ties."""

    parts: list[Part]
    decided: int
    won: float | None
    low: float
    high: float

    @property
    def words(self) -> str:
        """The interval in words."""
        if self.won is None:
            return "No row was decided: both models earned the same reward on every row."
        if self.decided < FEW_DECIDED:
            return f"Fewer than {FEW_DECIDED} rows were decided, too few to compare the models."
        if self.low > 0.5:
            return "The interval lies above one half: the tuned model wins more rows than it loses."
        if self.high < 0.5:
            return "The interval lies below one half: the tuned model loses more rows than it wins."
        return "The interval includes one half: as many rows may be lost as won."


def count_outcomes(wins: int, ties: int, losses: int, confidence: float) -> Outcomes | None:
    """Return the outcomes; ``None`` if no row was graded for both models."""
    total, decided = wins + ties + losses, wins + losses
    if not total:
        return None
    counts = [("won", "win", wins), ("tied", "tie", ties), ("lost", "loss", losses)]
    parts, start = [], 0
    for name, kind, count in counts:
        left, width = (f"{100 * rows / total:.2f}%" for rows in (start, count))
        parts.append(Part(name, kind, count, count / total, left, width))
        start += count
    if not decided:
        return Outcomes(parts, 0, None, 0.0, 1.0)
    won = wilson(wins, decided, confidence)
    return Outcomes(parts, decided, won.mean, won.low or 0.0, won.high or 0.0)


def build_outcomes(evaluation: Evaluation, confidence: float) -> Outcomes | None:
    """Return the outcomes of a comparison."""
    return count_outcomes(evaluation.wins or 0, evaluation.ties or 0, evaluation.losses or 0, confidence)
