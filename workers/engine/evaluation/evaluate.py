"""Base and tuned on the same held-out rows: sampled, graded by the same grader, compared in pairs."""

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
from workers.engine.base_model.initial_adapter import reference
from workers.engine.base_model.models import folded
from workers.engine.evaluation.comparison import compared, graded, pairs_of, right, row_reward
from workers.engine.evaluation.statistics import Resampling, mean_pass_at_k, wins_ties_losses
from workers.engine.prompts.data import Row
from workers.engine.sampling.batches import Answer, Sampler
from workers.engine.training.judge_failures import JUDGE_FAILURES

if TYPE_CHECKING:
    from workers.grading import GradeAnswers

Answers = list[list[Answer]]  # rows x samples
Side = list[list[EvaluationSample]]  # the same, graded
Split = Literal["validation", "test"]
Stage = Literal["before", "during", "after"]


@dataclass
class Evaluator:
    """Draws and grades both sides. The base side of some rows is drawn once: it does not change.

    Both sides use the same random seed, which is common random numbers: the noise that they share cancels in
    the paired difference. Where the grader ``compares`` answers, both sides of a row are one group.
    """

    model: PeftModel
    sampler: Sampler
    grade: GradeAnswers
    settings: EvaluationSettings
    seed: int
    check_stop: Callable[[], None]
    compares: bool = False
    _cost: dict[str, float] = field(default_factory=dict)
    _answers: dict[tuple[str | int, ...], Answers] = field(default_factory=dict)
    _graded: dict[tuple[str | int, ...], Side] = field(default_factory=dict)

    def before(self, rows: list[Row], split: Split, samples: int) -> EvaluationEvent:
        """The base alone."""
        base = self._base_label(rows, split, samples)
        return EvaluationEvent(
            judge_cost=self._take_cost(),
            stage="before",
            split=split,
            step=0,
            rows=len(rows),
            samples_per_row=samples,
            base=self.summary(base),
        )

    def compare(
        self, stage: Stage, step: int, rows: list[Row], split: Split, samples: int
    ) -> EvaluationEvent:
        """Both sides, their paired difference, and every answer."""
        base, tuned = self._arms(rows, split, samples)
        event = self._compared(stage, step, split, base, tuned)
        event.judge_cost = self._take_cost()
        event.details = [
            self._detail(row, before, after) for row, before, after in zip(rows, base, tuned, strict=True)
        ]
        return event

    def _detail(self, row: Row, base: list[EvaluationSample], tuned: list[EvaluationSample]) -> EvaluationRow:
        threshold = self.settings.pass_threshold
        return EvaluationRow(
            row_id=row.row_id,
            prompt=self.sampler.renderer.render(row.messages, row.tools),
            messages=row.messages,
            tools=row.tools,
            item=dict(row.item),
            base=base,
            tuned=tuned,
            base_right=right(base, threshold) if graded(base) else None,
            tuned_right=right(tuned, threshold) if graded(tuned) else None,
        )

    def _compared(
        self, stage: Stage, step: int, split: Split, base: Side, tuned: Side, looks: int = 1
    ) -> EvaluationEvent:
        """``looks`` comparisons are made at once: their intervals hold together (Bonferroni)."""
        interval = replace(self._interval, confidence=1 - (1 - self.settings.confidence) / looks)
        pairs = pairs_of(base, tuned, self.settings.pass_threshold)
        changes = [pair.change for pair in pairs]
        wins, ties, losses = wins_ties_losses(changes)
        return EvaluationEvent(
            stage=stage,
            split=split,
            step=step,
            rows=len(base),
            samples_per_row=len(base[0]),
            base=self.summary(base),
            tuned=self.summary(tuned),
            difference=interval(changes) if pairs else None,
            wins=wins,
            ties=ties,
            losses=losses,
            comparison=compared(pairs, interval),
        )

    def by_task(self, event: EvaluationEvent, rows: list[Row]) -> list[EvaluationEvent]:
        """The same evaluation for each of the job's tasks, without the answers; none if it has no tasks.

        A task whose answers have no grade at all is left out. The intervals of the tasks' differences hold
        all together, so that one of many does not look like a gain by luck.
        """
        places: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row.task, []).append(place)
        looks = len(places)
        made = {task: self._of_task(event, rows, members, looks) for task, members in places.items() if task}
        return [each.model_copy(update={"task": task}) for task, each in made.items() if each]

    def _of_task(
        self, event: EvaluationEvent, rows: list[Row], places: list[int], looks: int
    ) -> EvaluationEvent | None:
        try:
            if event.tuned is None:
                base = self._base_label(rows, event.split, event.samples_per_row)
                summary = self.summary([base[place] for place in places])
                return event.model_copy(update={"base": summary, "rows": len(places), "judge_cost": {}})
            details = [event.details[place] for place in places]
            sides = [row.base for row in details], [row.tuned for row in details]
            return self._compared(event.stage, event.step, event.split, *sides, looks)
        except errors.EngineError:
            return None

    def summary(self, side: Side) -> SideSummary:
        """One side in numbers. Failed gradings are missing, rows without any grade are left out."""
        rewards = [reward for row in side if (reward := row_reward(row)) is not None]
        samples = [sample for row in side for sample in row]
        if not rewards:
            raise _nothing_graded(samples)
        threshold = self.settings.pass_threshold
        counts = [(known, right(row, threshold)) for row in side if (known := graded(row))]
        return SideSummary(
            reward=self._interval(rewards),
            pass_at_1=self._interval([hits / known for known, hits in counts]),
            pass_at_k=self._pass_at_k(counts, len(side[0])),
            mean_length=sum(s.length for s in samples) / len(samples),
            truncated_share=sum(s.truncated for s in samples) / len(samples),
            grading_error_share=sum(s.reward is None for s in samples) / len(samples),
        )

    def _arms(self, rows: list[Row], split: Split, samples: int) -> tuple[Side, Side]:
        tuned = self._draw(folded(self.model), rows, split, samples)
        if not self.compares:
            return self._base_label(rows, split, samples), self._grade(rows, tuned)
        base = self.base_answers(rows, split, samples)
        both = self._grade(rows, [b + t for b, t in zip(base, tuned, strict=True)])
        return [row[:samples] for row in both], [row[samples:] for row in both]

    def _base_label(self, rows: list[Row], split: Split, samples: int) -> Side:
        key = _key(rows, split, samples)
        if key not in self._graded:
            self._graded[key] = self._grade(rows, self.base_answers(rows, split, samples))
        return self._graded[key]

    def base_answers(self, rows: list[Row], split: Split, samples: int) -> Answers:
        """What the base wrote; drawn once."""
        key = _key(rows, split, samples)
        if key not in self._answers:
            self._answers[key] = self._draw(reference(self.model), rows, split, samples)
        return self._answers[key]

    def _draw(
        self, which: AbstractContextManager[None], rows: list[Row], split: Split, samples: int
    ) -> Answers:
        prompts = [self.sampler.renderer.encode(row.messages, row.tools) for row in rows]
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {split}".encode()).digest()[:4])
        with which:
            answers = self.sampler(self.model.get_base_model(), prompts, samples, seed)
        self.check_stop()
        return answers

    def _grade(self, rows: list[Row], answers: Answers) -> Side:
        flat = [(row, answer) for row, drawn in zip(rows, answers, strict=True) for answer in drawn]
        groups = [row.row_id for row, _ in flat]
        results = self.grade([(answer.text, row.item) for row, answer in flat], groups)
        for result in results:
            for model, usage in result.usage.items():
                self._cost[model] = self._cost.get(model, 0.0) + usage["cost"]
        graded = iter(
            EvaluationSample(
                completion=answer.text,
                reasoning=self.sampler.renderer.thoughts_apart(answer.text),
                reward=result.reward,
                sub_rewards=result.sub_rewards,
                error_class=result.error_class,
                error_detail=result.error_detail,
                explanation=result.explanation,
                length=len(answer.ids),
                truncated=answer.truncated,
            )
            for (_, answer), result in zip(flat, results, strict=True)
        )
        return [[next(graded) for _ in drawn] for drawn in answers]

    def _take_cost(self) -> dict[str, float]:
        """What judges cost since the last evaluation."""
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


def _nothing_graded(samples: list[EvaluationSample]) -> Exception:
    """The job pauses for a judge that fails, and ends for a grader that does."""
    detail = next((s.error_detail for s in samples if s.error_detail), None) or ""
    if any(s.error_class in JUDGE_FAILURES for s in samples):
        return errors.judge_failing("on every answer of an evaluation", detail)
    return errors.grading_failed("of an evaluation", detail)
