"""Preflight before training: base rollouts on a sample of training rows, graded and summarised."""

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
from workers.engine.base_model.models import fold_adapter
from workers.engine.evaluation import forecast, task_graders
from workers.engine.evaluation.forecast import Signs
from workers.engine.evaluation.statistics import SMALL_GAIN, Resampling, detectable_gain, rows_to_detect
from workers.engine.memory import is_out_of_memory, release
from workers.engine.prompts.data import Row
from workers.engine.randomness import isolated_randomness
from workers.engine.sampling.batches import SampledCompletion, Sampler
from workers.engine.training.trainer import MeasuringTrainer

if TYPE_CHECKING:
    from workers.grading import GradeAnswers, GradeResult

PACKAGE_SECONDS = 20.0
TIMED_PASSES = 2
SAMPLES_SHOWN = 8
LONGEST_TEXT = 8000  # characters of the end of a prompt and of the beginning of a completion
SLOWER = 1.5  # upper end of the time estimate: completions often grow while a model learns


@dataclass
class Preflight:
    """Samples the base on training rows and forecasts whether training works, its time and its cost."""

    spec: JobSpec
    trainer: MeasuringTrainer
    sampler: Sampler
    grade: GradeAnswers
    steps: int
    held_out: int
    work: Workload
    check_stop: Callable[[], None]

    def run(self, train: list[Row]) -> PreflightEvent:
        """Sample, grade, time one step, and report whether the job can work."""
        settings = self.spec.preflight
        rows = task_graders.sample_each_task(train, settings.rows, self.spec.seed + 1)
        began = time.perf_counter()
        # At least a whole group: a smaller sample says nothing about groups of that size.
        completions = self._sample(rows, max(settings.samples_per_row, self.spec.grpo.group_size))
        sampled = time.perf_counter()
        results = self._grade(rows, completions)
        graded = time.perf_counter()
        number = sum(map(len, completions))
        training = self._time_training(rows, completions)
        return self._report(
            rows, completions, results, (sampled - began) / number, (graded - sampled) / number, training
        )

    def _sample(self, rows: list[Row], each: int) -> list[list[SampledCompletion]]:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        with fold_adapter(model):
            return self.sampler.complete_rows(model.get_base_model(), rows, each, self.spec.seed + 1)

    def _grade(self, rows: list[Row], completions: list[list[SampledCompletion]]) -> list[list[GradeResult]]:
        pairs = [(row, completion) for row, own in zip(rows, completions, strict=True) for completion in own]
        results = iter(
            self.grade(
                [(completion.text, row.item) for row, completion in pairs], [row.row_id for row, _ in pairs]
            )
        )
        self.check_stop()
        return [[next(results) for _ in own] for own in completions]

    def _time_training(self, rows: list[Row], completions: list[list[SampledCompletion]]) -> float:
        """Return the seconds of forward and backward passes over a step's rollouts, extrapolated from a few.

        The timed pass has the planned size, and half of it if memory runs out nevertheless.
        """
        grpo = self.spec.grpo
        pairs = [
            (self.sampler.renderer.encode(row.messages, row.tools), completion.ids)
            for row, own in zip(rows, completions, strict=True)
            for completion in own[: grpo.group_size]
            if completion.ids
        ][: grpo.group_size]
        longest = max(len(prompt) + len(completion) for prompt, completion in pairs)
        most = max(1, self.trainer.most_tokens // longest)
        model = self.trainer.model
        if self.trainer.args.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        with isolated_randomness(self.spec.seed):
            while True:
                try:
                    seconds = min(self._time_pass(pairs[:most]) for _ in range(TIMED_PASSES))
                    return seconds * self.spec.grpo.rollouts_per_step / len(pairs[:most])
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or most == 1:
                        raise
                most = min(most, len(pairs)) // 2
                model.zero_grad(set_to_none=True)
                release()

    def _time_pass(self, pairs: list[tuple[list[int], list[int]]]) -> float:
        began = time.perf_counter()
        self.trainer.model.train()
        torch.autograd.backward(self.trainer.score_pairs(pairs).sum())
        self.trainer.model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began

    # --- report ----------------------------------------------------------------------------------

    def _report(
        self,
        train: list[Row],
        completions: list[list[SampledCompletion]],
        results: list[list[GradeResult]],
        sampling: float,
        grading: float,
        training: float,
    ) -> PreflightEvent:
        spec, evaluation = self.spec, self.spec.evaluation
        resampling = Resampling(evaluation.confidence, evaluation.bootstrap_resamples, spec.seed)
        known = [[r.reward for r in row if r.reward is not None] for row in results]
        rows = [rewards for rewards in known if rewards]
        flat = [completion for own in completions for completion in own]
        if not rows:
            detail = next((r.error_detail for row in results for r in row if r.error_detail), None)
            raise errors.grading_failed("of the preflight", detail or "")
        counts = [(len(rewards), sum(r >= evaluation.pass_threshold for r in rewards)) for rewards in rows]
        curve = forecast.estimate_pass_curve(counts, resampling)
        size = spec.grpo.group_size
        shares = forecast.estimate_no_signal(rows, size, resampling)
        used = shares.get(size)
        std = forecast.expect_difference_std(rows, evaluation.samples_per_row)
        signs = Signs(
            errors=sum(r.reward is None for row in results for r in row) / len(flat),
            truncated=sum(completion.truncated for completion in flat) / len(flat),
            mean_reward=sum(map(sum, rows)) / sum(map(len, rows)),
            pass_at_1=curve[0].value.mean,
            pass_at_most=curve[-1].value.mean,
            most=curve[-1].k,
            spread=forecast.mean_row_std(rows),
            distinct_completions=_share_distinct(completions),
            no_signal=used.mean if used else None,
            relative=task_graders.any_compares(spec),
            zero=sum(reward == 0 for rewards in rows for reward in rewards) / sum(map(len, rows)),
            zero_uncut=_zero_uncut(completions, results),
        )
        first, *others = forecast.put_first(self._find_environment_faults(), forecast.advise(signs))
        bins, low, high = forecast.count_bins([reward for rewards in rows for reward in rewards])
        return PreflightEvent(
            rows=len(completions),
            samples_per_row=max(map(len, completions)),
            histogram=bins,
            histogram_low=low,
            histogram_high=high,
            reward=resampling([sum(rewards) / len(rewards) for rewards in rows]),
            pass_curve=curve,
            no_signal={str(group): share for group, share in shares.items()},
            group_size=forecast.choose_group_size(shares),
            truncated_share=signs.truncated,
            grading_error_share=signs.errors,
            spread=signs.spread,
            detectable=detectable_gain(std, self.held_out),
            held_out_rows=self.held_out,
            rows_for_2_points=rows_to_detect(std, SMALL_GAIN),
            forecast=self._forecast(results, sampling, grading, training, resampling),
            verdict=first.verdict,
            reason=first.reason,
            remedy=first.remedy,
            others=[
                Advice(verdict=cause.verdict, reason=cause.reason, remedy=cause.remedy) for cause in others
            ],
            samples=self._samples(train, completions, results),
            judge_cost=_sum_costs(results),
        )

    def _find_environment_faults(self) -> list[forecast.Cause]:
        """Return what the checks of the job's environments found wrong. Raises ``EngineError``."""
        player = self.sampler.player
        findings = player.check_environments(self.spec.seed) if player else []
        self.check_stop()
        return [
            forecast.Cause("change_environment", f"The environment: {finding.summary}.", finding.remedy, 1.0)
            for finding in findings
            if finding.passed is False
        ]

    def _samples(
        self, train: list[Row], completions: list[list[SampledCompletion]], results: list[list[GradeResult]]
    ) -> list[PreflightSample]:
        """Return a few completions with their grading."""
        rewards = [[result.reward for result in row] for row in results]
        cut = [[completion.truncated for completion in own] for own in completions]
        render = self.sampler.renderer.render
        return [
            _describe_sample(
                train[row],
                render(train[row].messages, train[row].tools),
                completions[row][index],
                results[row][index],
            )
            for row, index in forecast.select_samples(rewards, cut, SAMPLES_SHOWN)
        ]

    def _forecast(
        self,
        results: list[list[GradeResult]],
        sampling: float,
        grading: float,
        training: float,
        resampling: Resampling,
    ) -> Forecast:
        """Forecast time and cost of judges of the whole job from the measured speeds."""
        step = self.spec.grpo.rollouts_per_step * (sampling + grading) + training
        left = self.work.remaining_after(0)
        evaluated = left.completions + left.suite_completions - self.work.count_preflight_completions()
        # Drift scores a completion with two models, forward only: two thirds of training on it.
        drift = left.drift_completions * training / self.spec.grpo.rollouts_per_step * 2 / 3
        training_seconds = self.steps * step + self.work.count_during_training() * (sampling + grading)
        seconds = self.steps * step + evaluated * (sampling + grading) + drift + PACKAGE_SECONDS
        completions = self.steps * self.spec.grpo.rollouts_per_step + evaluated
        costs = [
            sum(usage["cost"] for result in row for usage in result.usage.values()) / len(row)
            for row in results
        ]
        each = resampling(costs)
        return Forecast(
            step_seconds=step,
            seconds=_estimate_range(seconds),
            train_seconds=_estimate_range(training_seconds),
            judge_cost=each.scaled(completions),
        )


def _estimate_range(seconds: float) -> Interval:
    """Return the estimate with a range, since the length of later completions is unknown."""
    return Interval(mean=seconds, low=seconds / SLOWER, high=seconds * SLOWER)


def _describe_sample(
    row: Row, prompt: str, completion: SampledCompletion, result: GradeResult
) -> PreflightSample:
    return PreflightSample(
        row_id=row.row_id,
        task=row.task,
        prompt=prompt[-LONGEST_TEXT:],
        completion=completion.text[:LONGEST_TEXT],
        reward=result.reward,
        sub_rewards=result.sub_rewards,
        error_class=result.error_class,
        error_detail=result.error_detail and result.error_detail[:LONGEST_TEXT],
        explanation=result.explanation[:LONGEST_TEXT],
        length=completion.length,
        truncated=completion.truncated,
        episode=completion.text.episode,
    )


def _zero_uncut(completions: list[list[SampledCompletion]], results: list[list[GradeResult]]) -> float:
    """Return the share of completions that score 0 although they were not cut."""
    pairs = [
        (completion, result)
        for own, row in zip(completions, results, strict=True)
        for completion, result in zip(own, row, strict=True)
    ]
    return sum(result.reward == 0 and not completion.truncated for completion, result in pairs) / len(pairs)


def _sum_costs(results: list[list[GradeResult]]) -> dict[str, float]:
    """Return the cost by judge."""
    costs: dict[str, float] = {}
    for result in (result for row in results for result in row):
        for model, usage in result.usage.items():
            costs[model] = costs.get(model, 0.0) + usage["cost"]
    return costs


def _share_distinct(completions: list[list[SampledCompletion]]) -> float:
    """Return the mean share of different texts among a row's completions."""
    return sum(len({completion.text for completion in own}) / len(own) for own in completions) / len(
        completions
    )
