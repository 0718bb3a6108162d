"""How many answers the evaluations of a job ask for: for estimates before the launch and of the time left."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.contract.spec import EvaluationSettings, PreflightSettings

DRIFT_ANSWERS = 256  # answers that a drift is measured on: more rows narrow its interval, more answers hardly


@dataclass
class Left:
    """Work still to come besides steps: answers to held-out rows, to suites' rows, and answers to score."""

    answers: int = 0
    suite_answers: int = 0
    drift_answers: int = 0


@dataclass(frozen=True)
class Workload:
    """The evaluations of one job. ``validation``, ``final``, ``train`` and ``suites`` are rows it has."""

    evaluation: EvaluationSettings
    preflight: PreflightSettings
    group_size: int
    steps: int
    train: int
    validation: int
    final: int
    suites: list[int] = field(default_factory=list)
    has_preflight: bool = True

    def left(self, step: int) -> Left:
        """Everything that comes after ``step``; 0 is before the base has been measured."""
        settings, runs = self.evaluation, self._runs(step)
        samples = settings.validation_samples_per_row
        suites = self._suite_rows(settings.validation_max_rows)
        first, last = self.before() if step == 0 else Left(), self.at_end()
        return Left(
            answers=first.answers + runs * samples * self.validation + last.answers,
            suite_answers=first.suite_answers + runs * samples * sum(suites) + last.suite_answers,
            drift_answers=runs * drift_answers([self.validation, *suites], samples) + last.drift_answers,
        )

    def before(self) -> Left:
        """The base model on validation rows and suites, and the preflight."""
        settings = self.evaluation
        samples, suites = settings.validation_samples_per_row, self._suite_rows(settings.validation_max_rows)
        return Left(self.validation * samples + self.preflight_answers(), sum(suites) * samples)

    def during(self) -> int:
        """Answers to validation rows while it trains, without the suites'."""
        return self._runs(0) * self.validation * self.evaluation.validation_samples_per_row

    def at_end(self) -> Left:
        """The comparison after training, of both models."""
        samples, suites = self.evaluation.samples_per_row, self._suite_rows(self.evaluation.max_rows)
        return Left(
            answers=2 * self.final * samples,
            suite_answers=2 * sum(suites) * samples,
            drift_answers=drift_answers([self.final, *suites], samples),
        )

    def preflight_answers(self) -> int:
        """Answers of the preflight: at least as many to a row as a group has."""
        if not self.has_preflight:
            return 0
        each = max(self.preflight.samples_per_row, self.group_size)
        return min(self.preflight.rows, self.train) * each

    def _runs(self, step: int) -> int:
        """Validation runs after ``step``."""
        every = self.evaluation.every
        return self.steps // every - step // every if every else 0

    def _suite_rows(self, most: int) -> list[int]:
        return [min(rows, self.evaluation.max_rows, most) for rows in self.suites]


def drift_answers(rows: list[int], samples: int) -> int:
    """Answers that both models score: some of each of these sets of rows."""
    return sum(min(samples, max(1, DRIFT_ANSWERS // each)) * each for each in rows if each)
