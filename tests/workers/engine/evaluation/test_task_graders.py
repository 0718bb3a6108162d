"""In a job with several tasks each row is graded by its own task, in any order and company."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.minimal_spec import GRADER, SPEC
from workers.contract.spec import JobSpec
from workers.engine.errors import EngineError
from workers.engine.evaluation.task_graders import any_compares, check_tasks, open_by_task, sample_each_task
from workers.engine.prompts.data import Item, Row
from workers.grading import Judges

RANKING = {"type": "ranking", "name": "r", "model": "m", "rubric": "Longer is better."}


def says(word: str) -> dict[str, Any]:
    return GRADER | {"reference": word}


def build(tasks: dict[str, dict[str, Any]], grader: dict[str, Any] = GRADER) -> JobSpec:
    described = {name: {"grader": each, "grader_sha256": "f" * 64} for name, each in tasks.items()}
    return JobSpec.model_validate(SPEC | {"grader": grader, "tasks": described})


def make_row(number: int, task: str = "") -> Row:
    return Row(str(number), [{"role": "user", "content": "x"}], Item({}, task), task)


def test_a_row_earns_by_its_own_tasks_grader() -> None:
    tasks = ["a", "b", "", "b", "a"]
    with open_by_task(build({"a": says("one"), "b": says("two")}), Judges()) as grade:
        for text, rewards in [("one", [1, 0, 0, 0, 1]), ("two", [0, 1, 0, 1, 0]), ("x", [0, 0, 1, 0, 0])]:
            results = grade([(text, Item({}, task)) for task in tasks])
            assert [result.reward for result in results] == rewards


def test_a_job_without_tasks_has_one_grader_for_all() -> None:
    with open_by_task(build({}), Judges()) as grade:
        assert [result.reward for result in grade([("x", {}), ("y", Item({}, ""))])] == [1.0, 0.0]


def test_sub_rewards_carry_the_task_so_that_equal_names_do_not_mix() -> None:
    multi = {"type": "multi", "name": "m", "graders": {"part": says("one")}, "calculate_output": "part"}
    with open_by_task(build({"a": multi, "b": multi | {"calculate_output": "part * 2"}}), Judges()) as grade:
        first, second = grade([("one", Item({}, "a")), ("one", Item({}, "b"))])
    assert (first.reward, first.sub_rewards) == (1.0, {"a/part": 1.0})
    assert (second.reward, second.sub_rewards) == (2.0, {"b/part": 1.0})


@pytest.mark.parametrize(
    ("spec", "compares"),
    [
        (build({"a": says("one")}), False),
        (build({"a": RANKING}), True),
        (build({"a": says("one")}, RANKING), True),
        (build({}), False),
    ],
)
def test_one_grader_that_compares_makes_groups_matter(spec: JobSpec, compares: bool) -> None:
    assert any_compares(spec) is compares


def test_a_row_of_an_unknown_task_and_a_task_without_rows_are_named() -> None:
    spec = build({"a": says("one"), "b": says("two")})
    check_tasks(spec, {"train": [make_row(0, "a"), make_row(1, "b"), make_row(2)], "test": [make_row(3)]})
    with pytest.raises(EngineError, match=r"Row 7 of the test split belongs to the task 'c'.* a, b"):
        check_tasks(spec, {"train": [make_row(0, "a"), make_row(1, "b")], "test": [make_row(7, "c")]})
    with pytest.raises(EngineError, match="No row of the train split belongs to b"):
        check_tasks(spec, {"train": [make_row(0, "a")], "test": [make_row(1, "b")]})


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 12), min_size=1),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_a_task_keeps_its_sampled_rows_whatever_other_tasks_there_are(
    sizes: dict[str, int], limit: int, seed: int
) -> None:
    rows = [make_row(number, task) for task, size in sizes.items() for number in range(size)]
    Random(seed).shuffle(rows)
    found = sample_each_task(rows, limit, seed)
    assert found == [row for row in rows if row in found], "in file order"
    for task, size in sizes.items():
        own = [row for row in found if row.task == task]
        assert len(own) == min(size, limit)
        assert own == sample_each_task([row for row in rows if row.task == task], limit, seed)
