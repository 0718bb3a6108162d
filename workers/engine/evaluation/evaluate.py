"""Evaluation of base and tuned on the same held-out rows: sampled, graded and compared in pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from peft import PeftModel

from workers.contract.events import EvaluationEvent, EvaluationRow, EvaluationSample, SideSummary
from workers.contract.spec import EvaluationSettings
from workers.engine import errors
from workers.engine.base_model.initial_adapter import use_reference
from workers.engine.base_model.models import fold_adapter
from workers.engine.evaluation.comparison import (
    compare_pairs,
    count_graded,
    count_right,
    pair_rows,
    row_reward,
)
from workers.engine.evaluation.statistics import Resampling, count_wins_ties_losses, mean_pass_at_k
from workers.engine.prompts.data import Row
from workers.engine.sampling.batches import SampledCompletion, Sampler
from workers.engine.training.judge_failures import JUDGE_FAILURES

if TYPE_CHECKING:
    from workers.grading import GradeAnswers

Completions = list[list[SampledCompletion]]  # rows x samples
Side = list[list[EvaluationSample]]  # the same, graded
Split = Literal["validation", "test"]
Stage = Literal["before", "during", "after"]


@dataclass
class Evaluator:
    """Samples and grades both sides. The base is sampled once for the same rows: it does not change.

    Both sides use the same random seed (common random numbers), so the noise that they share cancels in the
    paired difference. If the grader ``compares`` completions, both sides of a row are one group.
    """

    model: PeftModel
    sampler: Sampler
    grade: GradeAnswers
    settings: EvaluationSettings
    seed: int
    check_stop: Callable[[], None]
    compares: bool = False
    _cost: dict[str, float] = field(default_factory=dict)
    _base_completions: dict[tuple[str | int, ...], Completions] = field(default_factory=dict)
    _base_sides: dict[tuple[str | int, ...], Side] = field(default_factory=dict)

    def evaluate_base(self, rows: list[Row], split: Split, samples: int) -> EvaluationEvent:
        """Evaluate the base alone."""
        base = self._grade_base(rows, split, samples)
        return EvaluationEvent(
            judge_cost=self._take_cost(),
            stage="before",
            split=split,
            step=0,
            rows=len(rows),
            samples_per_row=samples,
            base=self.summarise(base),
        )

    def compare(
        self, stage: Stage, step: int, rows: list[Row], split: Split, samples: int
    ) -> EvaluationEvent:
        """Evaluate both sides: their paired difference, and every completion."""
        base, tuned = self._grade_sides(rows, split, samples)
        event = self._compare(stage, step, split, base, tuned)
        event.judge_cost = self._take_cost()
        event.details = [
            self._describe_row(row, before, after)
            for row, before, after in zip(rows, base, tuned, strict=True)
        ]
        return event

    def _describe_row(
        self, row: Row, base: list[EvaluationSample], tuned: list[EvaluationSample]
    ) -> EvaluationRow:
        threshold = self.settings.pass_threshold
        return EvaluationRow(
            row_id=row.row_id,
            prompt=self.sampler.renderer.render(row.messages, row.tools),
            messages=row.messages,
            tools=row.tools,
            item=dict(row.item),
            base=base,
            tuned=tuned,
            base_right=count_right(base, threshold) if count_graded(base) else None,
            tuned_right=count_right(tuned, threshold) if count_graded(tuned) else None,
        )

    def _compare(
        self, stage: Stage, step: int, split: Split, base: Side, tuned: Side, comparisons: int = 1
    ) -> EvaluationEvent:
        """``comparisons`` are made at once: their intervals hold together (Bonferroni)."""
        interval = replace(self._interval, confidence=1 - (1 - self.settings.confidence) / comparisons)
        pairs = pair_rows(base, tuned, self.settings.pass_threshold)
        changes = [pair.change for pair in pairs]
        wins, ties, losses = count_wins_ties_losses(changes)
        return EvaluationEvent(
            stage=stage,
            split=split,
            step=step,
            rows=len(base),
            samples_per_row=len(base[0]),
            base=self.summarise(base),
            tuned=self.summarise(tuned),
            difference=interval(changes) if pairs else None,
            wins=wins,
            ties=ties,
            losses=losses,
            comparison=compare_pairs(pairs, interval),
        )

    def split_by_task(self, event: EvaluationEvent, rows: list[Row]) -> list[EvaluationEvent]:
        """Return the same evaluation for each of the job's tasks, without completions; empty without tasks.

        A task whose completions have no grade at all is left out. The intervals of the tasks' differences
        hold together, so that one of many does not look like a gain by chance.
        """
        indices: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            indices.setdefault(row.task, []).append(index)
        events = {
            task: self._evaluate_task(event, rows, members, len(indices))
            for task, members in indices.items()
            if task
        }
        return [each.model_copy(update={"task": task}) for task, each in events.items() if each]

    def _evaluate_task(
        self, event: EvaluationEvent, rows: list[Row], indices: list[int], comparisons: int
    ) -> EvaluationEvent | None:
        try:
            if event.tuned is None:
                base = self._grade_base(rows, event.split, event.samples_per_row)
                summary = self.summarise([base[index] for index in indices])
                return event.model_copy(update={"base": summary, "rows": len(indices), "judge_cost": {}})
            details = [event.details[index] for index in indices]
            sides = [row.base for row in details], [row.tuned for row in details]
            return self._compare(event.stage, event.step, event.split, *sides, comparisons)
        except errors.EngineError:
            return None

    def summarise(self, side: Side) -> SideSummary:
        """Summarise one side. Failed gradings are missing; rows without any grade are left out."""
        rewards = [reward for row in side if (reward := row_reward(row)) is not None]
        samples = [sample for row in side for sample in row]
        if not rewards:
            raise _nothing_graded_error(samples)
        threshold = self.settings.pass_threshold
        counts = [(known, count_right(row, threshold)) for row in side if (known := count_graded(row))]
        return SideSummary(
            reward=self._interval(rewards),
            pass_at_1=self._interval([hits / known for known, hits in counts]),
            pass_at_k=self._pass_at_k(counts, len(side[0])),
            mean_length=sum(s.length for s in samples) / len(samples),
            truncated_share=sum(s.truncated for s in samples) / len(samples),
            grading_error_share=sum(s.reward is None for s in samples) / len(samples),
        )

    def _grade_sides(self, rows: list[Row], split: Split, samples: int) -> tuple[Side, Side]:
        tuned = self._sample(fold_adapter(self.model), rows, split, samples)
        if not self.compares:
            return self._grade_base(rows, split, samples), self._grade(rows, tuned)
        base = self.sample_base(rows, split, samples)
        both = self._grade(rows, [b + t for b, t in zip(base, tuned, strict=True)])
        return [row[:samples] for row in both], [row[samples:] for row in both]

    def _grade_base(self, rows: list[Row], split: Split, samples: int) -> Side:
        key = _key(rows, split, samples)
        if key not in self._base_sides:
            self._base_sides[key] = self._grade(rows, self.sample_base(rows, split, samples))
        return self._base_sides[key]

    def sample_base(self, rows: list[Row], split: Split, samples: int) -> Completions:
        """Return completions of the base, sampled once."""
        key = _key(rows, split, samples)
        if key not in self._base_completions:
            self._base_completions[key] = self._sample(use_reference(self.model), rows, split, samples)
        return self._base_completions[key]

    def _sample(
        self, model_state: AbstractContextManager[None], rows: list[Row], split: Split, samples: int
    ) -> Completions:
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {split}".encode()).digest()[:4])
        with model_state:
            completions = self.sampler.complete_rows(self.model.get_base_model(), rows, samples, seed)
        self.check_stop()
        return completions

    def _grade(self, rows: list[Row], completions: Completions) -> Side:
        flat = [(row, each) for row, own in zip(rows, completions, strict=True) for each in own]
        groups = [row.row_id for row, _ in flat]
        results = self.grade([(each.text, row.item) for row, each in flat], groups)
        for result in results:
            for model, usage in result.usage.items():
                self._cost[model] = self._cost.get(model, 0.0) + usage["cost"]
        graded = iter(
            EvaluationSample(
                completion=each.text,
                reasoning=self.sampler.renderer.get_separate_thoughts(each.text),
                reward=result.reward,
                sub_rewards=result.sub_rewards,
                error_class=result.error_class,
                error_detail=result.error_detail,
                explanation=result.explanation,
                length=each.length,
                truncated=each.truncated,
                episode=each.text.episode,
            )
            for (_, each), result in zip(flat, results, strict=True)
        )
        return [[next(graded) for _ in own] for own in completions]

    def _take_cost(self) -> dict[str, float]:
        """Return and reset the cost of judges."""
        taken, self._cost = self._cost, {}
        return taken

    def _pass_at_k(self, counts: list[tuple[int, int]], samples: int) -> dict[str, float]:
        ks = sorted({samples} | {2**power for power in range(samples.bit_length())})
        estimates = {k: mean_pass_at_k(counts, k) for k in ks}
        return {str(k): value for k, value in estimates.items() if value is not None}

    @property
    def _interval(self) -> Resampling:
        return Resampling(self.settings.confidence, self.settings.bootstrap_resamples, self.seed)


def _key(rows: list[Row], split: Split, samples: int) -> tuple[str | int, ...]:
    return (split, samples, *(row.row_id for row in rows))


def _nothing_graded_error(samples: list[EvaluationSample]) -> errors.EngineError:
    """Return an error that pauses the job for a failing judge, and ends it for any other grader."""
    detail = next((s.error_detail for s in samples if s.error_detail), None) or ""
    if any(s.error_class in JUDGE_FAILURES for s in samples):
        return errors.judge_failing("on every completion of an evaluation", detail)
    return errors.grading_failed("of an evaluation", detail)
