"""Several tasks share an adapter: each is graded by its own grader, and gets its share of every step."""

from __future__ import annotations

import json
import signal
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.engine.training.test_resume import adapter, course, start, wait_for
from tests.workers.engine_jobs import (
    TEMPLATES,
    events_of,
    of_type,
    rows,
    run_engine,
    small_spec,
    tiny_model,
    tiny_tokenizer,
    write_split,
)
from webapp.core.statistics import bootstrap_mean
from workers.engine.training.task_balance import Balance, compute_advantages, schedule_prompts

LIKENESS = {"type": "text_similarity", "name": "likeness", "evaluation_metric": "fuzzy_match", **TEMPLATES}
LENGTH = {
    "type": "multi",
    "name": "short",
    "graders": {"short": {"type": "regex", "pattern": r"^(\S+ ?){0,3}$", "name": "short"}},
    "calculate_output": "100 * short",
}


def task_rows(number: int, task: str, first: int = 0) -> list[dict[str, Any]]:
    made = rows(first + number)[first:]
    return [row | {"task": task, "row_id": f"{task}/{row['row_id']}"} for row in made]


def two_tasks(folder: Path, model: Path, **grpo: Any) -> dict[str, Any]:
    """``near`` has three times the weight of ``short``, and a tenth of its scale of rewards."""
    spec = small_spec(folder, model)
    for split, number, first in (("train", 6, 0), ("validation", 3, 6), ("test", 3, 9)):
        both = [*task_rows(number, "near", first), *task_rows(number, "short", first)]
        spec["dataset"][split] = write_split(folder, split, both)
    spec["tasks"] = {
        "near": {"grader": LIKENESS, "grader_sha256": "1" * 64, "weight": 3},
        "short": {"grader": LENGTH, "grader_sha256": "2" * 64},
    }
    spec["grpo"] |= {"max_steps": 12, "scale_rewards": "batch"} | grpo
    (folder / "spec.json").write_text(json.dumps(spec))
    return spec


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The folder of a job with two tasks that nothing disturbed."""
    folder = tmp_path_factory.mktemp("tasks")
    two_tasks(folder, model_folder)
    assert run_engine("run", folder / "spec.json", "--out", folder / "out") == 0
    return folder


def test_every_step_has_each_task_in_proportion_to_its_weight(whole):
    for step in of_type(events_of(whole / "out"), "rollouts"):
        groups = {rollout.group: rollout.row_id.split("/")[0] for rollout in step.rollouts}
        assert Counter(groups.values()) == {"near": 3, "short": 1}
        assert len({rollout.row_id for rollout in step.rollouts}) == len(groups)


def test_each_task_is_graded_by_its_own_grader_and_has_its_own_curves(whole):
    events = events_of(whole / "out")
    rollouts = [rollout for step in of_type(events, "rollouts") for rollout in step.rollouts]
    assert {r.reward for r in rollouts if r.row_id.startswith("short/")} == {0.0, 100.0}
    assert all(0 <= r.reward <= 1 for r in rollouts if r.row_id.startswith("near/"))
    assert {name for r in rollouts for name in r.sub_rewards} == {"short/short"}
    values = of_type(events, "metrics")[0].values
    first = [r for r in of_type(events, "rollouts")[0].rollouts if r.row_id.startswith("near/")]
    assert values["tasks/near/reward"] == pytest.approx(sum(r.reward for r in first) / len(first))
    assert "tasks/short/reward" in values


def test_evaluations_come_for_all_rows_and_for_each_task(whole):
    evaluations = of_type(events_of(whole / "out"), "evaluation")
    after = {event.task: event for event in evaluations if event.stage == "after"}
    before = {event.task: event for event in evaluations if event.stage == "before"}
    assert {task: event.rows for task, event in after.items()} == {"": 6, "near": 3, "short": 3}
    assert before.keys() == after.keys()
    for arm in ("base", "tuned"):
        means = {task: getattr(event, arm).reward.mean for task, event in after.items()}
        assert means[""] == pytest.approx((means["near"] + means["short"]) / 2)
    mean = sum(s.reward for row in after[""].details[:3] for s in row.tuned) / 12
    assert after["near"].tuned.reward.mean == pytest.approx(mean)
    assert not after["near"].details


def test_the_package_says_which_tasks_made_it(whole):
    package = whole / "out" / "package"
    assert "near (weight 3), short (weight 1)" in (package / "README.md").read_text()
    assert json.loads((package / "run.json").read_text())["tasks"]["near"]["grader_sha256"] == "1" * 64


def test_a_small_rewards_task_keeps_its_advantages_beside_a_large_one(whole):
    """Divided by the whole batch's deviation, rewards up to 100 would silence those up to 1."""
    sizes: dict[str, list[float]] = {"near": [], "short": []}
    for step in of_type(events_of(whole / "out"), "rollouts"):
        for rollout in step.rollouts:
            sizes[rollout.row_id.split("/")[0]].append(abs(rollout.advantage))
    largest = {task: max(values) for task, values in sizes.items()}
    assert largest["near"] > 0.3 * largest["short"] > 0


def test_a_killed_job_with_tasks_resumes_bit_for_bit(whole, tmp_path):
    """Twelve rows with four per step are three steps per epoch: step 5 is within epoch 2."""
    killed = start("run", whole / "spec.json", "--out", tmp_path / "killed")
    wait_for(tmp_path / "killed", '"type":"metrics","step":5', killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    checkpoint = tmp_path / "killed" / "checkpoints" / "step-3"
    arguments = ["run", whole / "spec.json", "--out", tmp_path / "resumed", "--resume", checkpoint]
    assert run_engine(*arguments) == 0
    expected = {key: value for key, value in course(whole / "out").items() if key[1] > 3}
    assert course(tmp_path / "resumed") == expected
    assert adapter(tmp_path / "resumed") == adapter(whole / "out")


def test_a_checkpoint_of_other_weights_is_refused(whole, tmp_path, model_folder):
    spec = two_tasks(tmp_path, model_folder)
    spec["tasks"]["near"]["weight"] = 2
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    checkpoint = whole / "out" / "checkpoints" / "step-3"
    arguments = ["run", tmp_path / "spec.json", "--out", tmp_path / "out", "--resume", checkpoint]
    assert run_engine(*arguments) == 1
    assert of_type(events_of(tmp_path / "out"), "error")[0].code == "checkpoint_mismatch"


def test_a_row_of_an_unknown_task_is_refused_by_name(tmp_path, model_folder):
    spec = two_tasks(tmp_path, model_folder)
    spec["dataset"]["test"] = write_split(tmp_path, "test", task_rows(2, "far"))
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert run_engine("run", tmp_path / "spec.json", "--out", tmp_path / "out") == 1
    error = of_type(events_of(tmp_path / "out"), "error")[0]
    assert error.code == "data_row_invalid"
    assert "far/row-0" in error.message
    assert "near, short" in error.message


# --- balance and scale ---------------------------------------------------------------------------

sizes = st.lists(st.tuples(st.floats(0.1, 10), st.integers(1, 9)), min_size=1, max_size=8)


@given(sizes, st.integers(1, 9))
def test_shares_hold_over_any_number_of_steps_where_rows_suffice(tasks, each):
    weights = [weight for weight, _ in tasks]
    total = [0] * len(tasks)
    for number, counts in enumerate(
        islice(schedule_prompts(weights, [each] * len(tasks), each), 20), start=1
    ):
        total = [before + count for before, count in zip(total, counts, strict=True)]
        for count, weight in zip(total, weights, strict=True):
            assert abs(count - number * each * weight / sum(weights)) < len(tasks)


@given(sizes, st.integers(1, 9), st.integers(0, 3))
def test_a_step_never_has_a_row_twice_and_no_row_waits_for_a_third_pass(tasks, each, seed):
    places, first = {}, 0
    for number, (_, size) in enumerate(tasks):
        places[str(number)] = list(range(first, first + size))
        first += size
    each = min(each, first)
    balance = Balance(places, {str(number): weight for number, (weight, _) in enumerate(tasks)})
    seen: Counter[int] = Counter()
    for step in islice(balance.iterate_steps(each, seed), 20):
        assert len(set(step)) == len(step) == each
        seen.update(step)
    for members in places.values():
        counts = [seen[row] for row in members]
        assert max(counts) - min(counts) <= 1


def test_a_task_sees_the_same_prompts_alone_and_together():
    both = Balance({"a": [0, 1, 2, 3, 4], "b": [5, 6, 7]}, {"a": 2.0, "b": 1.0})
    alone = Balance({"b": [0, 1, 2]}, {"b": 1.0})
    together = [row - 5 for step in islice(both.iterate_steps(6, 1), 9) for row in step if row >= 5]
    assert together == [row for step in islice(alone.iterate_steps(2, 1), 9) for row in step]


rewards = st.lists(st.floats(-5, 5) | st.none(), min_size=4, max_size=4)


@given(rewards, st.floats(0.5, 1000))
def test_a_task_s_advantages_do_not_depend_on_the_scale_of_another(values, scale):
    groups, tasks = [0, 0, 0, 0, 1, 1, 1, 1], ["a"] * 4 + ["b"] * 4
    one = compute_advantages([*values, 0, 1, 0, 1], groups, tasks)
    other = compute_advantages([*values, 0, scale, 0, scale], groups, tasks)
    assert one[:4] == other[:4]
    assert all(a == 0 for a, value in zip(one[:4], values, strict=True) if value is None)


# --- interference --------------------------------------------------------------------------------

COLOURS = r"\b(red|blue|green|cold)\b"
GRADERS = {
    "says": {"type": "regex", "name": "says", "pattern": COLOURS},
    "silent": {"type": "regex", "name": "silent", "pattern": f"^(?!.*{COLOURS})"},
}


def tuned_rewards(folder: Path, model: Path, tasks: list[str], prompts: int) -> dict[str, float]:
    """Row id -> mean reward after training ``tasks``, which ask opposite things of the same prompts."""
    folder.mkdir()
    spec = small_spec(folder, model)
    for split, number, first in (("train", 8, 0), ("validation", 1, 8), ("test", 24, 8)):
        made = [row for task in tasks for row in task_rows(number, task, first)]
        spec["dataset"][split] = write_split(folder, split, made)
    spec["tasks"] = {task: {"grader": GRADERS[task], "grader_sha256": task} for task in tasks}
    spec["grpo"] |= {"max_steps": 16, "group_size": 8, "prompts_per_step": prompts, "learning_rate": 0.05}
    spec["evaluation"] |= {"every": 0, "samples_per_row": 12}
    (folder / "spec.json").write_text(json.dumps(spec))
    assert run_engine("run", folder / "spec.json", "--out", folder / "out") == 0
    after = next(e for e in of_type(events_of(folder / "out"), "evaluation") if e.stage == "after")
    return {row.row_id: sum(s.reward for s in row.tuned) / len(row.tuned) for row in after.details}


def test_a_planted_conflict_between_tasks_is_found(tmp_path):
    """Alone the task learns to write a word; together with a task that pays for its absence, it does not."""
    model = tiny_model()
    model.lm_head.weight.data *= 8  # its logits reach far enough for something to be learnt
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    together = tuned_rewards(tmp_path / "both", tmp_path / "model", ["says", "silent"], 8)
    alone = tuned_rewards(tmp_path / "alone", tmp_path / "model", ["says"], 4)
    _, _, high = bootstrap_mean(tuple(together[row] - alone[row] for row in sorted(alone)))
    assert high < -0.2
