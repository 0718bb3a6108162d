"""A go or no-go before training: base rollouts on a sample of training rows, graded and summed up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from workers.contract.events import Advice, Forecast, Interval, PreflightEvent, PreflightSample
from workers.contract.spec import JobSpec
from workers.contract.workload import Workload
from workers.engine import errors
from workers.engine.base_model.models import folded
from workers.engine.evaluation import forecast, task_graders
from workers.engine.evaluation.forecast import Signs
from workers.engine.evaluation.statistics import SMALL_GAIN, Resampling, detectable, rows_to_detect
from workers.engine.memory import is_out_of_memory, release
from workers.engine.prompts.data import Row
from workers.engine.randomness import own_randomness
from workers.engine.sampling.batches import Answer, Sampler
from workers.engine.training.grpo import rollouts
from workers.engine.training.trainer import MeasuringTrainer

if TYPE_CHECKING:
    from workers.grading import GradeAnswers, GradeResult

PACKAGE_SECONDS = 20.0
TIMED_PASSES = 2
SAMPLES_SHOWN = 8
LONGEST_TEXT = 8000  # characters of a shown prompt, of which the end is kept, or completion
SLOWER = 1.5  # answers often grow while a model learns; the high end of the time estimate allows for that


@dataclass
class Preflight:
    """Everything the sample needs, and the evaluations to come, for the estimate of time and cost."""

    spec: JobSpec
    trainer: MeasuringTrainer
    sampler: Sampler
    grade: GradeAnswers
    steps: int
    held_out: int
    work: Workload
    check_stop: Callable[[], None]

    def run(self, train: list[Row]) -> PreflightEvent:
        """Samples, grades, times one step, and says whether the job can work."""
        settings = self.spec.preflight
        rows = task_graders.choose_each(train, settings.rows, self.spec.seed + 1)
        began = time.perf_counter()
        # A group larger than the sample could not be judged by it.
        answers = self._sample(rows, max(settings.samples_per_row, self.spec.grpo.group_size))
        sampled = time.perf_counter()
        results = self._grade(rows, answers)
        graded = time.perf_counter()
        number = sum(map(len, answers))
        training = self._time_training(rows, answers)
        return self._report(
            rows, answers, results, (sampled - began) / number, (graded - sampled) / number, training
        )

    def _sample(self, rows: list[Row], each: int) -> list[list[Answer]]:
        prompts = [self.sampler.renderer.encode(row.messages, row.tools) for row in rows]
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        with folded(model):
            return self.sampler(model.get_base_model(), prompts, each, self.spec.seed + 1)

    def _grade(self, rows: list[Row], answers: list[list[Answer]]) -> list[list[GradeResult]]:
        pairs = [(row, answer) for row, drawn in zip(rows, answers, strict=True) for answer in drawn]
        results = iter(
            self.grade([(answer.text, row.item) for row, answer in pairs], [row.row_id for row, _ in pairs])
        )
        self.check_stop()
        return [[next(results) for _ in drawn] for drawn in answers]

    def _time_training(self, rows: list[Row], answers: list[list[Answer]]) -> float:
        """Seconds of a forward and a backward pass over as many rollouts as a step has, scaled up from a few.

        What is timed fits the passes that were planned, and is halved if memory runs out all the same.
        """
        grpo = self.spec.grpo
        pairs = [
            (self.sampler.renderer.encode(row.messages, row.tools), answer.ids)
            for row, drawn in zip(rows, answers, strict=True)
            for answer in drawn[: grpo.group_size]
            if answer.ids
        ][: grpo.group_size]
        longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
        most = max(1, self.trainer.most_tokens // longest)
        model = self.trainer.model
        if self.trainer.args.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        with own_randomness(self.spec.seed):
            while True:
                try:
                    seconds = min(self._one_pass(pairs[:most]) for _ in range(TIMED_PASSES))
                    return seconds * rollouts(self.spec) / len(pairs[:most])
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or most == 1:
                        raise
                most = min(most, len(pairs)) // 2
                model.zero_grad(set_to_none=True)
                release()

    def _one_pass(self, pairs: list[tuple[list[int], list[int]]]) -> float:
        began = time.perf_counter()
        self.trainer.model.train()
        torch.autograd.backward(self.trainer.pass_over(pairs).sum())
        self.trainer.model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began

    # --- report ----------------------------------------------------------------------------------

    def _report(
        self,
        train: list[Row],
        answers: list[list[Answer]],
        results: list[list[GradeResult]],
        sampling: float,
        grading: float,
        training: float,
    ) -> PreflightEvent:
        spec, evaluation = self.spec, self.spec.evaluation
        make = Resampling(evaluation.confidence, evaluation.bootstrap_resamples, spec.seed)
        known = [[r.reward for r in row if r.reward is not None] for row in results]
        rows = [rewards for rewards in known if rewards]
        flat = [answer for drawn in answers for answer in drawn]
        if not rows:
            detail = next((r.error_detail for row in results for r in row if r.error_detail), None)
            raise errors.grading_failed("of the preflight", detail or "")
        counts = [(len(rewards), sum(r >= evaluation.pass_threshold for r in rewards)) for rewards in rows]
        curve = forecast.pass_curve(counts, make)
        size = spec.grpo.group_size
        shares = forecast.no_signal_shares(rows, size, make)
        used = shares.get(size)
        std = forecast.paired_std(rows, evaluation.samples_per_row)
        signs = Signs(
            errors=sum(r.reward is None for row in results for r in row) / len(flat),
            truncated=sum(answer.truncated for answer in flat) / len(flat),
            mean_reward=sum(map(sum, rows)) / sum(map(len, rows)),
            pass_at_1=curve[0].value.mean,
            pass_at_most=curve[-1].value.mean,
            most=curve[-1].k,
            spread=forecast.within_std(rows),
            distinct_answers=_distinct(answers),
            no_signal=used.mean if used else None,
            relative=task_graders.compares(spec),
            zero=sum(reward == 0 for rewards in rows for reward in rewards) / sum(map(len, rows)),
            zero_uncut=_zero_uncut(answers, results),
        )
        first, *others = forecast.advise(signs)
        bins, low, high = forecast.histogram([reward for rewards in rows for reward in rewards])
        return PreflightEvent(
            rows=len(answers),
            samples_per_row=max(map(len, answers)),
            histogram=bins,
            histogram_low=low,
            histogram_high=high,
            reward=make([sum(rewards) / len(rewards) for rewards in rows]),
            pass_curve=curve,
            no_signal={str(group): share for group, share in shares.items()},
            group_size=forecast.best_group_size(shares),
            truncated_share=signs.truncated,
            grading_error_share=signs.errors,
            spread=signs.spread,
            detectable=detectable(std, self.held_out),
            held_out_rows=self.held_out,
            rows_for_2_points=rows_to_detect(std, SMALL_GAIN),
            forecast=self._forecast(results, sampling, grading, training, make),
            verdict=first.verdict,
            reason=first.reason,
            remedy=first.remedy,
            others=[
                Advice(verdict=cause.verdict, reason=cause.reason, remedy=cause.remedy) for cause in others
            ],
            samples=self._samples(train, answers, results),
            judge_cost=_spent(results),
        )

    def _samples(
        self, train: list[Row], answers: list[list[Answer]], results: list[list[GradeResult]]
    ) -> list[PreflightSample]:
        """A few answers to read, with their grading."""
        rewards = [[result.reward for result in row] for row in results]
        cut = [[answer.truncated for answer in drawn] for drawn in answers]
        render = self.sampler.renderer.render
        return [
            _sample_of(
                train[row],
                render(train[row].messages, train[row].tools),
                answers[row][place],
                results[row][place],
            )
            for row, place in forecast.choose_samples(rewards, cut, SAMPLES_SHOWN)
        ]

    def _forecast(
        self,
        results: list[list[GradeResult]],
        sampling: float,
        grading: float,
        training: float,
        make: Resampling,
    ) -> Forecast:
        """Time and judges' money of the whole job, from the speeds measured here."""
        step = rollouts(self.spec) * (sampling + grading) + training
        left = self.work.left(0)
        evaluated = left.answers + left.suite_answers - self.work.preflight_answers()
        # Drift scores an answer with two models, forward only: two thirds of training on it.
        drift = left.drift_answers * training / rollouts(self.spec) * 2 / 3
        training_seconds = self.steps * step + self.work.during() * (sampling + grading)
        seconds = self.steps * step + evaluated * (sampling + grading) + drift + PACKAGE_SECONDS
        answers = self.steps * rollouts(self.spec) + evaluated
        costs = [
            sum(usage["cost"] for result in row for usage in result.usage.values()) / len(row)
            for row in results
        ]
        each = make(costs)
        return Forecast(
            step_seconds=step,
            seconds=_roughly(seconds),
            train_seconds=_roughly(training_seconds),
            judge_cost=each.scaled(answers),
        )


def _roughly(seconds: float) -> Interval:
    """An estimate with a range for what is not known yet: how long answers will become."""
    return Interval(mean=seconds, low=seconds / SLOWER, high=seconds * SLOWER)


def _sample_of(row: Row, prompt: str, answer: Answer, result: GradeResult) -> PreflightSample:
    return PreflightSample(
        row_id=row.row_id,
        task=row.task,
        prompt=prompt[-LONGEST_TEXT:],
        completion=answer.text[:LONGEST_TEXT],
        reward=result.reward,
        sub_rewards=result.sub_rewards,
        error_class=result.error_class,
        error_detail=result.error_detail and result.error_detail[:LONGEST_TEXT],
        explanation=result.explanation[:LONGEST_TEXT],
        length=len(answer.ids),
        truncated=answer.truncated,
    )


def _zero_uncut(answers: list[list[Answer]], results: list[list[GradeResult]]) -> float:
    """Share of all answers that score 0 although they were not cut."""
    pairs = [
        (answer, result)
        for drawn, row in zip(answers, results, strict=True)
        for answer, result in zip(drawn, row, strict=True)
    ]
    return sum(result.reward == 0 and not answer.truncated for answer, result in pairs) / len(pairs)


def _spent(results: list[list[GradeResult]]) -> dict[str, float]:
    """Money by judge."""
    spent: dict[str, float] = {}
    for result in (result for row in results for result in row):
        for model, usage in result.usage.items():
            spent[model] = spent.get(model, 0.0) + usage["cost"]
    return spent


def _distinct(answers: list[list[Answer]]) -> float:
    """Mean share of different texts among a row's answers."""
    return sum(len({answer.text for answer in drawn}) / len(drawn) for drawn in answers) / len(answers)
