"""Methods of control runs: supervised learning, and permuted rewards."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.conftest import SpecWriter
from tests.workers.engine.training.test_resume import adapter, course, newest_checkpoint
from tests.workers.engine_jobs import events_of, of_type, rows, run_engine, small_spec, write_split
from workers.contract.events import EventWriter
from workers.contract.methods import METHODS
from workers.contract.spec import JobSpec
from workers.engine.run import Job, run_job
from workers.engine.training.methods import TRAINERS
from workers.engine.training.rollouts.permuted_rewards import permute

TRAIN = 9


def demonstrations(number: int = TRAIN) -> list[dict[str, Any]]:
    return [
        {"row_id": row["row_id"], "messages": row["messages"], "completion": row["item"]["reference"]}
        for row in rows(number)
    ]


def sft_spec(folder: Path, model: Path, **changes: Any) -> Path:
    """Three steps an epoch, the last of a single row, for eight epochs; checkpoints lie within epochs."""
    spec = small_spec(folder, model, TRAIN) | {"method": "sft"}
    file = write_split(folder, "sft", demonstrations())
    spec["sft"] = {"rows": file, "learning_rate": 0.02, "epochs": 8, "batch_size": 4} | changes
    spec["lora"] = {"rank": 4, "alpha": 64, "dropout": 0.1}
    spec["grpo"]["checkpoint_every"] = 5
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder / "spec.json"


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> tuple[Path, Path]:
    """The spec of an SFT job and the folder of its run."""
    folder = tmp_path_factory.mktemp("taught")
    spec = sft_spec(folder, model_folder)
    assert run_engine("run", spec, "--out", folder / "out") == 0
    return spec, folder / "out"


def test_every_method_has_a_trainer() -> None:
    assert TRAINERS.keys() == METHODS.keys()


def test_demonstrations_teach_the_answers_and_when_to_end(taught: tuple[Path, Path]) -> None:
    events = events_of(taught[1])
    metrics = of_type(events, "metrics")
    assert [event.step for event in metrics] == list(range(1, 25))
    assert {"loss", "learning_rate", "mean_token_accuracy", "entropy", "grad_norm"} <= set(metrics[0].values)
    losses = [event.values["loss"] for event in metrics]
    assert sum(losses[-3:]) < 0.96 * sum(losses[:3])  # its frozen head is so small that 0.8 is the least
    assert not of_type(events, "rollouts")
    assert not of_type(events, "preflight")
    last = of_type(events, "evaluation")[-1]
    assert (last.stage, last.split, last.rows) == ("after", "test", 4)
    assert last.tuned.truncated_share < last.base.truncated_share
    assert last.tuned.mean_length < last.base.mean_length  # a reference is two words and their end


def test_the_package_names_the_method(taught: tuple[Path, Path]) -> None:
    package = taught[1] / "package"
    run = json.loads((package / "run.json").read_text())
    assert (run["method"], run["settings"]["sft"]["rows"]["rows"], run["steps"]) == ("sft", TRAIN, 24)
    assert "path" not in run["settings"]["sft"]["rows"]
    assert "supervised learning" in (package / "README.md").read_text()


@pytest.mark.parametrize("step", [7, 12], ids=["within a step", "while evaluating"])
def test_a_stopped_sft_job_resumes_and_equals_an_uninterrupted_one_bit_for_bit(
    taught: tuple[Path, Path], tmp_path: Path, step: int
) -> None:
    """The engine stops as soon as ``step`` is over; evaluations follow even steps."""
    path, whole = taught
    spec = JobSpec.model_validate_json(path.read_text())
    first, second = tmp_path / "first", tmp_path / "second"

    def stopping() -> bool:
        return f'"type":"metrics","step":{step},' in (first / "events.jsonl").read_text()

    for out, told in ((first, stopping), (second, lambda: False)):
        out.mkdir()
        resume = newest_checkpoint(first) if out is second else None
        with (out / "events.jsonl").open("a") as file:
            assert run_job(Job(spec, path.parent, out, EventWriter(file), told), resume) == 0
    assert events_of(first)[-1].step == step
    assert adapter(second) == adapter(whole)
    assert {**course(first), **course(second)} == course(whole)


def test_a_checkpoint_within_an_epoch_repeats_the_rest(taught: tuple[Path, Path], tmp_path: Path) -> None:
    spec, whole = taught
    checkpoint = whole / "checkpoints" / "step-5"
    assert run_engine("run", spec, "--out", tmp_path / "resumed", "--resume", checkpoint) == 0
    assert adapter(tmp_path / "resumed") == adapter(whole)


def test_a_batch_in_several_passes_learns_the_same(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sft_spec(tmp_path, model_folder, epochs=1)
    spec = json.loads(path.read_text())
    spec["lora"]["dropout"] = 0
    path.write_text(json.dumps(spec))
    courses = []
    for name in ("whole", "rows"):
        assert run_engine("run", path, "--out", tmp_path / name) == 0
        metrics = of_type(events_of(tmp_path / name), "metrics")
        courses.append([event.values[key] for event in metrics for key in ("loss", "grad_norm")])
        monkeypatch.setattr("workers.contract.memory.CPU_TOKENS", 1)  # a pass holds one row
    assert len(courses[0]) == 6
    assert courses[0] == pytest.approx(courses[1], rel=1e-4)


def test_a_held_out_row_cannot_be_learnt_from(model_folder: Path, tmp_path: Path) -> None:
    file = write_split(tmp_path, "leak", demonstrations(TRAIN + 1))
    assert run_engine("run", sft_spec(tmp_path, model_folder, rows=file), "--out", tmp_path / "out") == 1
    [error] = of_type(events_of(tmp_path / "out"), "error")
    assert (error.code, f"row-{TRAIN}" in error.message) == ("data_row_invalid", True)


def test_a_demonstration_that_evaluations_would_cut_off_is_refused(
    model_folder: Path, tmp_path: Path
) -> None:
    file = write_split(tmp_path, "long", [{**demonstrations(1)[0], "completion": "red " * 8}])
    assert run_engine("run", sft_spec(tmp_path, model_folder, rows=file), "--out", tmp_path / "out") == 1
    [error] = of_type(events_of(tmp_path / "out"), "error")
    assert (error.code, "row-0" in error.message) == ("demonstration_too_long", True)


# --- placebo -------------------------------------------------------------------------------------


REWARDS = st.lists(st.tuples(st.one_of(st.none(), st.floats(0, 1)), st.sampled_from("ab")), max_size=40)


@given(REWARDS, st.integers(0, 9), st.integers(0, 9))
def test_a_placebo_permutes_the_rewards_of_each_task(
    given_rewards: list[tuple[float | None, str]], seed: int, step: int
) -> None:
    rewards, tasks = [reward for reward, _ in given_rewards], [task for _, task in given_rewards]
    found = permute(rewards, tasks, seed, step)
    assert found == permute(rewards, tasks, seed, step)
    assert [reward is None for reward in found] == [reward is None for reward in rewards]
    assert Counter(zip(found, tasks, strict=True)) == Counter(given_rewards)


def test_permuted_rewards_are_independent_of_the_completion() -> None:
    """Over many steps the true and the permuted reward are uncorrelated: 3200 pairs, four standard errors."""
    true = [0.0, 1.0] * 16
    pairs = [
        pair for step in range(100) for pair in zip(true, permute(true, [""] * 32, 1, step), strict=True)
    ]
    agreement = sum(a == b for a, b in pairs) / len(pairs)
    assert agreement == pytest.approx(0.5, abs=4 * 0.5 / len(pairs) ** 0.5)


def test_a_placebo_trains_on_permuted_rewards_and_is_evaluated_by_true_ones(
    write_spec: SpecWriter, tmp_path: Path
) -> None:
    spec, out = write_spec(method="placebo", preflight={"rows": 4}), tmp_path / "out"
    assert run_engine("run", spec, "--out", out) == 0
    events = events_of(out)
    assert not of_type(events, "preflight")
    steps = of_type(events, "rollouts")
    for step in steps:  # the grader is the mean of its two parts, which rollouts keep as they were
        true = [sum(r.sub_rewards.values()) / 2 for r in step.rollouts]
        assert sorted(r.reward for r in step.rollouts) == pytest.approx(sorted(true))
    moved = [r for step in steps for r in step.rollouts if r.reward != sum(r.sub_rewards.values()) / 2]
    assert len(moved) > sum(len(step.rollouts) for step in steps) / 4
    last = of_type(events, "evaluation")[-1]
    for sample in (sample for row in last.details for sample in row.tuned):
        assert sample.reward == pytest.approx(sum(sample.sub_rewards.values()) / 2)
    assert json.loads((out / "package" / "run.json").read_text())["method"] == "placebo"
