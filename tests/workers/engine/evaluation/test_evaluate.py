"""Base and tuned are compared fairly, and comparing leaves training as it was."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tests.workers.engine_jobs import rows, tiny_model, tiny_tokenizer
from workers.contract.spec import EvaluationSettings
from workers.engine.errors import EngineError, Paused, Stopped
from workers.engine.evaluation.evaluate import Evaluator
from workers.engine.prompts.data import Row, sample_rows
from workers.engine.prompts.rendering import Renderer
from workers.engine.sampling.batches import Sampler
from workers.grading import GradeResult

HELD_OUT = [Row(**row) for row in rows(6)]
SETTINGS = EvaluationSettings(bootstrap_resamples=200)


def grade_by_words(
    pairs: Sequence[tuple[str, dict[str, Any]]], groups: Sequence[str] | None = None
) -> list[GradeResult]:
    """1 for an answer with the word "a", no grade for one with "cold", else 0."""
    return [graded(None if "cold" in text else float("a" in text.split())) for text, _ in pairs]


def graded(reward: float | None) -> GradeResult:
    return GradeResult(reward, {"words": reward}, None, None, 0.0, "")


def tuned_model(moved: bool = True) -> PeftModel:
    config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", init_lora_weights=not moved)
    return get_peft_model(tiny_model(), config)


def evaluator(model: PeftModel, grade: Any = grade_by_words, stop: Any = lambda *_: None) -> Evaluator:
    return Evaluator(
        model, Sampler(Renderer(tiny_tokenizer(), [1, 2]), [1, 2], 1.0, 8, stop), grade, SETTINGS, 5, stop
    )


def test_an_adapter_that_changes_nothing_wins_nothing():
    event = evaluator(tuned_model(moved=False)).compare("after", 3, HELD_OUT, "test", 4)
    assert (event.wins, event.ties, event.losses) == (0, 6, 0)
    assert event.difference.mean == 0
    assert event.base == event.tuned
    assert [row.base == row.tuned for row in event.details] == [True] * 6
    found = event.comparison
    assert (found.coverage.gained, found.coverage.lost, found.curves.crossover) == (0, 0, None)
    assert (found.mcnemar.only_base, found.mcnemar.only_tuned, found.mcnemar.p_value) == (0, 0, 1.0)
    assert (found.detectable, found.length_matched) == (None, None)


def test_the_summary_is_what_the_details_say_with_failed_gradings_missing():
    event = evaluator(tuned_model()).compare("after", 3, HELD_OUT, "test", 8)
    for side in ("base", "tuned"):
        by_row = [getattr(row, side) for row in event.details]
        kept = [[s.reward for s in samples if s.reward is not None] for samples in by_row]
        failed = sum(s.reward is None for samples in by_row for s in samples)
        summary = getattr(event, side)
        assert 0 < failed < 48
        assert summary.grading_error_share == failed / 48
        assert summary.reward.mean == pytest.approx(np.mean([np.mean(r) for r in kept if r]))
        assert summary.pass_at_k["1"] == pytest.approx(summary.pass_at_1.mean)
        assert set(summary.pass_at_k) <= {"1", "2", "4", "8"}
        assert summary.truncated_share == sum(s.truncated for samples in by_row for s in samples) / 48
    assert event.wins + event.ties + event.losses <= 6
    assert (event.difference.low, event.difference.high) == (None, None), "six rows allow no interval"
    for row in event.details:
        rewards = [s.reward for s in row.tuned if s.reward is not None]
        assert row.tuned_right == (rewards.count(1.0) if rewards else None)
    ledger = [row for row in event.details if row.base_right == 0 and row.tuned_right]
    assert event.comparison.coverage.gained == len(ledger)


def test_both_arms_answer_the_same_prompts_and_the_base_label_is_the_bare_base():
    model = tuned_model()
    event = evaluator(model).compare("during", 3, HELD_OUT, "validation", 2)
    bare = evaluator(tuned_model(moved=False)).evaluate_base(HELD_OUT, "validation", 2)
    assert event.base == bare.base
    assert event.tuned != event.base
    assert [row.row_id for row in event.details] == [row.row_id for row in HELD_OUT]


def test_the_base_label_is_drawn_once_for_the_same_rows_and_anew_for_others():
    drawn: list[int] = []
    model = tuned_model()
    evaluation = evaluator(model, stop=lambda *number: drawn.extend(number))
    evaluation.evaluate_base(HELD_OUT[:2], "validation", 2)
    evaluation.compare("during", 1, HELD_OUT[:2], "validation", 2)
    event = evaluation.compare("after", 1, HELD_OUT, "validation", 2)
    assert drawn == [4, 4, 12, 12]
    assert event.base == evaluator(model).evaluate_base(HELD_OUT, "validation", 2).base


def test_evaluating_again_gives_the_same_and_leaves_every_generator_as_it_was():
    model = tuned_model().train()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first = evaluator(model).compare("during", 3, HELD_OUT, "validation", 2)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert model.training
    torch.rand(10)
    second = evaluator(model).compare("during", 3, HELD_OUT, "validation", 2)
    assert second.model_copy(update={"time": first.time}) == first


def test_an_evaluation_without_any_grade_fails_with_the_graders_words():
    def broken(pairs: Any, groups: Any = None) -> list[GradeResult]:
        return [replace(graded(None), error_detail="name 'x' is not defined") for _ in pairs]

    with pytest.raises(EngineError, match="every completion of an evaluation") as caught:
        evaluator(tuned_model(), broken).evaluate_base(HELD_OUT, "validation", 2)
    assert caught.value.detail == "name 'x' is not defined"


def test_a_judge_that_fails_on_every_answer_pauses_the_job_instead_of_ending_it():
    def silent(pairs: Any, groups: Any = None) -> list[GradeResult]:
        return [GradeResult(None, error_class="model_grader_server_error", error_detail="429") for _ in pairs]

    with pytest.raises(Paused, match="judge failed") as caught:
        evaluator(tuned_model(), silent).evaluate_base(HELD_OUT, "validation", 2)
    assert (caught.value.code, caught.value.detail) == ("judge_failing", "429")


def test_a_grader_that_compares_answers_sees_both_arms_of_a_row_as_one_group():
    seen: list[list[str]] = []

    def rank(pairs: Any, groups: Any = None) -> list[GradeResult]:
        seen.append(list(groups))
        return [graded(1.0 if number % 8 >= 4 else 0.0) for number, _ in enumerate(pairs)]

    evaluation = replace(evaluator(tuned_model(), rank), compares=True)
    event = evaluation.compare("after", 3, HELD_OUT, "test", 4)
    assert seen == [[row.row_id for row in HELD_OUT for _ in range(8)]]
    assert (event.base.reward.mean, event.tuned.reward.mean, event.wins) == (0.0, 1.0, 6)


def test_an_evaluation_stops_between_two_batches():
    def stop(*_: Any) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        evaluator(tuned_model(), stop=stop).evaluate_base(HELD_OUT, "validation", 2)


def test_the_rows_that_are_chosen_depend_on_the_seed_alone():
    assert sample_rows(HELD_OUT, 3, 1) == sample_rows(HELD_OUT, 3, 1)
    assert {row.row_id for row in sample_rows(HELD_OUT, 3, 1)} <= {row.row_id for row in HELD_OUT}
    assert sample_rows(HELD_OUT, 10, 1) == HELD_OUT
    assert len({tuple(r.row_id for r in sample_rows(HELD_OUT, 3, seed)) for seed in range(9)}) > 1
