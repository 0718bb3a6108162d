"""An estimate counts every completion that the job's evaluations sample, and no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.spec import EvaluationSettings, PreflightSettings
from workers.contract.workload import DRIFT_COMPLETIONS, Workload, count_drift_completions

SIZES = st.integers(0, 400)


def build(**changes: object) -> Workload:
    settings: dict[str, object] = {
        "evaluation": EvaluationSettings(
            every=10, validation_samples_per_row=4, samples_per_row=8, max_rows=200, validation_max_rows=32
        ),
        "preflight": PreflightSettings(rows=24, samples_per_row=16),
        "group_size": 8,
        "steps": 25,
        "train": 1000,
        "validation": 30,
        "final": 100,
        "suites": [50],
    }
    return Workload(**(settings | changes))  # type: ignore[arg-type]


def test_a_whole_job_is_counted_phase_by_phase() -> None:
    work = build()
    before, after = work.before_training(), work.after_training()
    assert (before.completions, before.suite_completions) == (30 * 4 + 24 * 16, 32 * 4)
    assert before.drift_completions == 0
    assert work.count_during_training() == 2 * 30 * 4
    assert (after.completions, after.suite_completions) == (2 * 100 * 8, 2 * 50 * 8)
    assert after.drift_completions == 100 * 2 + 50 * 5
    whole = work.remaining_after(0)
    assert whole.completions == before.completions + work.count_during_training() + after.completions
    assert whole.suite_completions == 32 * 4 + 2 * 32 * 4 + 2 * 50 * 8
    assert whole.drift_completions == 2 * (30 * 4 + 32 * 4) + after.drift_completions


@given(
    every=st.integers(0, 12), steps=st.integers(1, 60), validation=SIZES, suites=st.lists(SIZES, max_size=3)
)
def test_what_is_left_falls_by_one_validation_run_at_each_evaluated_step(
    every: int, steps: int, validation: int, suites: list[int]
) -> None:
    settings = EvaluationSettings(every=every, validation_samples_per_row=3, validation_max_rows=32)
    work = build(evaluation=settings, steps=steps, validation=validation, suites=suites, has_preflight=False)
    for step in range(1, steps):
        now, later = work.remaining_after(step), work.remaining_after(step + 1)
        runs = int(every > 0 and (step + 1) % every == 0)
        assert now.completions - later.completions == runs * 3 * validation
        assert now.suite_completions - later.suite_completions == runs * 3 * sum(min(s, 32) for s in suites)
    assert work.remaining_after(steps) == work.after_training()


def test_a_job_that_never_validates_still_compares_both_models_at_its_end() -> None:
    work = build(evaluation=EvaluationSettings(every=0, samples_per_row=8), suites=[])
    assert work.count_during_training() == 0
    assert work.remaining_after(5).completions == 2 * 100 * 8


@pytest.mark.parametrize(
    ("changes", "completions"),
    [
        ({}, 24 * 16),
        ({"group_size": 32}, 24 * 32),
        ({"train": 5}, 5 * 16),
        ({"preflight": PreflightSettings(rows=0)}, 0),
        ({"has_preflight": False}, 0),
    ],
)
def test_a_preflight_samples_at_least_a_group_of_each_row(
    changes: dict[str, object], completions: int
) -> None:
    assert build(**changes).count_preflight_completions() == completions


@given(st.lists(st.integers(0, 2000), max_size=5), st.integers(1, 64))
def test_a_drift_is_measured_on_every_row_and_on_few_completions_of_each(
    rows: list[int], samples: int
) -> None:
    for each in rows:
        found = count_drift_completions([each], samples)
        assert each <= found <= each * samples
        assert found <= max(DRIFT_COMPLETIONS, each)
    assert count_drift_completions(rows, samples) == sum(
        count_drift_completions([each], samples) for each in rows
    )
