"""Completions that a job's evaluations need, for estimates before the launch and of the time left."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.contract.spec import EvaluationSettings, PreflightSettings

DRIFT_COMPLETIONS = 256  # a drift is measured on: more rows narrow its interval, more completions hardly


@dataclass
class RemainingWork:
    """Completions still to sample for held-out rows and for suites, and to score for the drift."""

    completions: int = 0
    suite_completions: int = 0
    drift_completions: int = 0


@dataclass(frozen=True)
class Workload:
    """The evaluations of one job. ``validation``, ``final``, ``train`` and ``suites`` are numbers of rows."""

    evaluation: EvaluationSettings
    preflight: PreflightSettings
    group_size: int
    steps: int
    train: int
    validation: int
    final: int
    suites: list[int] = field(default_factory=list)
    has_preflight: bool = True

    def remaining_after(self, step: int) -> RemainingWork:
        """Return the work after ``step``; 0 is before the base is measured."""
        settings, runs = self.evaluation, self._runs(step)
        samples = settings.validation_samples_per_row
        suites = self._suite_rows(settings.validation_max_rows)
        first, last = self.before_training() if step == 0 else RemainingWork(), self.after_training()
        return RemainingWork(
            completions=first.completions + runs * samples * self.validation + last.completions,
            suite_completions=first.suite_completions + runs * samples * sum(suites) + last.suite_completions,
            drift_completions=runs * count_drift_completions([self.validation, *suites], samples)
            + last.drift_completions,
        )

    def before_training(self) -> RemainingWork:
        """Return the work on the base model: validation rows, suites and the preflight."""
        settings = self.evaluation
        samples, suites = settings.validation_samples_per_row, self._suite_rows(settings.validation_max_rows)
        return RemainingWork(
            self.validation * samples + self.count_preflight_completions(), sum(suites) * samples
        )

    def count_during_training(self) -> int:
        """Return the completions to validation rows during training, without those to suites."""
        return self._runs(0) * self.validation * self.evaluation.validation_samples_per_row

    def after_training(self) -> RemainingWork:
        """Return the work of comparing both models after training."""
        samples, suites = self.evaluation.samples_per_row, self._suite_rows(self.evaluation.max_rows)
        return RemainingWork(
            completions=2 * self.final * samples,
            suite_completions=2 * sum(suites) * samples,
            drift_completions=count_drift_completions([self.final, *suites], samples),
        )

    def count_preflight_completions(self) -> int:
        """Return the completions of the preflight. A row has at least as many as a group."""
        if not self.has_preflight:
            return 0
        each = max(self.preflight.samples_per_row, self.group_size)
        return min(self.preflight.rows, self.train) * each

    def _runs(self, step: int) -> int:
        """Return the number of validation runs after ``step``."""
        every = self.evaluation.every
        return self.steps // every - step // every if every else 0

    def _suite_rows(self, most: int) -> list[int]:
        return [min(rows, self.evaluation.max_rows, most) for rows in self.suites]


def count_drift_completions(rows: list[int], samples: int) -> int:
    """Return how many completions both models score, for sets of this many rows."""
    return sum(min(samples, max(1, DRIFT_COMPLETIONS // each)) * each for each in rows if each)
