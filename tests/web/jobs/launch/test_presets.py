"""Presets and steps of a new job: what a press of a button sets, and how long the job will be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.datasets.models import DatasetVersion
from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.launch.presets import STEPS, WORDS, build_presets
from webapp.jobs.launch.service import check_settings
from webapp.jobs.launch.steps import count_steps
from workers.contract.spec import GrpoSettings, JobSettings

STANDARD = st.fixed_dictionaries(
    {name: st.integers(1, 500) for name in WORDS if name != STEPS}
    | {STEPS: st.none() | st.integers(1, 5000), "preflight__rows": st.integers(0, 200)}
)


def version(rows: int) -> DatasetVersion:
    return DatasetVersion(files={"train": {"rows": rows}})


@given(STANDARD, st.none() | st.integers(1, 5000))
def test_a_quick_look_is_never_more_work_and_a_thorough_one_never_less(
    standard: dict[str, Any], epochs: int | None
) -> None:
    quick, usual, thorough = build_presets(standard, epochs)
    assert usual.values == standard, "the middle one is what the base model recommends"
    for name in set(WORDS) - {STEPS}:
        assert quick.values[name] <= usual.values[name] <= thorough.values[name]  # type: ignore[operator]
        assert quick.values[name] or name == "preflight__rows"
    if usual.steps:
        assert quick.steps
        assert thorough.steps
        assert 1 <= quick.steps <= usual.steps < thorough.steps


@given(STANDARD)
def test_what_a_preset_says_is_what_it_sets(standard: dict[str, Any]) -> None:
    for preset in build_presets(standard, None):
        set_values = [(words, preset.values[name]) for name, words in WORDS.items()]
        said = [words.format(f"{value:,}") for words, value in set_values if value is not None]
        assert preset.changes == ", ".join(said)


@pytest.mark.parametrize(
    ("given_settings", "rows", "steps"),
    [
        ({"prompts_per_step": 8, "epochs": 3}, [100], 36),
        ({"prompts_per_step": 8, "epochs": 3}, [60, 40], 36),
        ({"prompts_per_step": 8, "epochs": 2}, [5], 2),
        ({"prompts_per_step": 8, "epochs": 3, "max_steps": 7}, [100], 7),
    ],
)
def test_a_job_takes_its_epochs_over_all_rows_unless_its_steps_are_stated(
    given_settings: dict[str, int], rows: list[int], steps: int
) -> None:
    grpo = GrpoSettings.model_validate(given_settings)
    assert count_steps(grpo, *(version(count) for count in rows)) == steps


def test_settings_that_are_left_out_take_their_defaults() -> None:
    assert check_settings({}) == JobSettings()
    found = check_settings({"grpo": {"max_steps": 5}})
    assert (found.grpo.max_steps, found.lora) == (5, JobSettings().lora)
    assert check_settings(found) is found


@pytest.mark.parametrize(
    ("given_settings", "path"),
    [
        ({"grpo": {"group_size": 1}}, "grpo.group_size"),
        ({"grpo": {"max_steps": 0}}, "grpo.max_steps"),
        ({"grpo": {"learning_rate": "fast"}}, "grpo.learning_rate"),
        ({"lora": {"rnak": 4}}, "lora.rnak"),
        ({"lroa": {}}, "lroa"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(given_settings: dict[str, Any], path: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        check_settings(given_settings)
    assert list(refused.value.errors) == [path]
    assert path in str(refused.value)
