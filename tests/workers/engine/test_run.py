"""One whole job through the command line: its events, its rollouts and the package that it leaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.workers.engine_jobs import events_of, of_type, run_engine
from workers.contract.events import Event
from workers.engine.packaging.verify import completion_logprobs
from workers.grading import probe

TRL_NAMES = {
    "loss",
    "grad_norm",
    "learning_rate",
    "reward",
    "reward_std",
    "frac_reward_zero_std",
    "entropy",
    "completions/mean_length",
    "completions/clipped_ratio",
    "step_time",
    "num_tokens",
    "rewards/grader/mean",
    "clip_ratio/region_mean",
}
OUR_NAMES = {
    "groups/no_signal_share",
    "kl_to_base",
    "kl_to_base/k1",
    "completions/truncated_share",
    "grading/error_share",
    "grading/missing_share",
    "time/grading",
    "time/generation",
    "time/training",
    "time/measuring",
    "tokens_per_second",
    "memory/peak_gib",
    "device/busy",
    "rewards/likeness/mean",
    "rewards/within/mean",
}


@pytest.fixture
def out(small_job: Path) -> Path:
    """The folder of a finished job."""
    return small_job.parent / "out"


@pytest.fixture
def events(out: Path) -> list[Event]:
    return events_of(out)


def test_a_job_tells_its_phases_in_order_and_ends_with_success(events):
    phases = [event.phase for event in of_type(events, "phase")]
    assert phases == ["prepare", "preflight", "train", "evaluate", "package"]
    assert (events[-1].type, events[-1].outcome, events[-1].step) == ("done", "succeeded", 6)
    assert events[-1].package == "package"
    assert events[-1].train_seconds > 0


def test_every_step_is_told_once_with_every_metric_and_all_its_rollouts(events):
    metrics, rollouts = of_type(events, "metrics"), of_type(events, "rollouts")
    assert [event.step for event in metrics] == [event.step for event in rollouts] == [1, 2, 3, 4, 5, 6]
    for event in metrics:
        assert set(event.values) >= TRL_NAMES | OUR_NAMES
    for event in rollouts:
        assert [rollout.index for rollout in event.rollouts] == list(range(16))
        assert {rollout.adapter_step for rollout in event.rollouts} == {event.step - 1}


def test_the_metrics_of_a_step_are_those_of_its_rollouts(events):
    for metric, event in zip(of_type(events, "metrics"), of_type(events, "rollouts"), strict=True):
        rollouts = event.rollouts
        rewards = [rollout.reward for rollout in rollouts]
        assert metric.values["reward"] == pytest.approx(sum(rewards) / 16)
        assert metric.values["completions/mean_length"] == sum(r.length for r in rollouts) / 16
        assert metric.values["completions/truncated_share"] == sum(r.truncated for r in rollouts) / 16
        silent = sum(len(set(rewards[start : start + 4])) == 1 for start in range(0, 16, 4))
        assert metric.values["groups/no_signal_share"] == silent / 4
        for rollout in rollouts:
            assert set(rollout.sub_rewards) == {"likeness", "within"}
            assert sum(rollout.sub_rewards.values()) / 2 == pytest.approx(rollout.reward)
            assert rollout.prompt.endswith("<turn> assistant ")


def test_kl_starts_at_zero_and_is_measured_although_beta_is_zero(events):
    values = [event.values["kl_to_base"] for event in of_type(events, "metrics")]
    assert values[0] == 0
    assert values[-1] > 0


def test_evaluations_come_before_during_and_after_and_test_rows_only_at_the_end(events):
    told = [(e.stage, e.split, e.step) for e in of_type(events, "evaluation")]
    during = [("during", "validation", step) for step in (2, 4, 6)]
    assert told == [("before", "validation", 0), *during, ("after", "test", 6)]


def test_checkpoints_and_progress_say_where_the_job_is(events):
    validated_or_due = [2, 3, 4, 6]
    assert [(e.step, e.path) for e in of_type(events, "checkpoint")] == [
        (step, f"checkpoints/step-{step}") for step in validated_or_due
    ]
    steps = [e for e in of_type(events, "progress") if e.phase == "train"]
    assert [(e.done, e.total) for e in steps] == [(step, 6) for step in range(1, 7)]
    assert all(e.eta_seconds > 0 for e in steps)


@pytest.mark.parametrize("folder", ["package", "checkpoints/step-3"])
def test_package_and_checkpoint_have_the_bases_own_tokenizer_files(out, model_folder, folder):
    """transformers 4 cannot read those that transformers 5 writes."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / folder / name).read_bytes() == (model_folder / name).read_bytes(), name


def test_checksums_hold_for_every_file_of_the_package(out):
    package = out / "package"
    listed = dict(reversed(line.split("  ")) for line in (package / "SHA256SUMS").read_text().splitlines())
    files = {path.name for path in package.iterdir()} - {"SHA256SUMS"}
    assert set(listed) == files
    for name, expected in listed.items():
        assert hashlib.sha256((package / name).read_bytes()).hexdigest() == expected
    needed = {"adapter_model.safetensors", "adapter_config.json", "README.md", "run.json", "tokenizer.json"}
    assert files >= needed | {"chat_template.jinja"}


def test_the_package_names_its_base_by_id_and_holds_no_path_of_this_machine(out, model_folder):
    package = out / "package"
    assert (
        json.loads((package / "adapter_config.json").read_text())["base_model_name_or_path"] == "tests/tiny"
    )
    for path in package.iterdir():
        content = path.read_bytes()
        assert str(model_folder).encode() not in content
        assert str(out.parent).encode() not in content


def test_the_model_card_and_run_file_state_what_was_measured(out, events):
    after = of_type(events, "evaluation")[-1]
    _, front, card = (out / "package" / "README.md").read_text().split("---\n", 2)
    data = yaml.safe_load(front)
    assert (data["base_model"], data["library_name"]) == ("tests/tiny", "peft")
    measured = data["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert measured == pytest.approx(after.tuned.reward.mean, abs=1e-4)
    assert f"{after.difference.mean:.3f}" in card
    run = json.loads((out / "package" / "run.json").read_text())
    assert run["metrics"]["tuned"]["reward"]["mean"] == after.tuned.reward.mean
    assert (run["dataset_sha256"], run["grader_sha256"], run["seed"]) == ("d" * 64, "e" * 64, 3)
    assert run["versions"]["torch"] == torch.__version__
    assert run["adapter_sha256"]["initial"] != run["adapter_sha256"]["tuned"]
    assert run["verification"]["difference"] < 1e-4 < run["verification"]["base_difference"]


def test_the_adapter_loads_with_plain_peft_and_gives_the_trainers_log_probabilities(out, model_folder):
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, out / "package").eval()
    assert AutoTokenizer.from_pretrained(out / "package").chat_template
    stored = json.loads((out / "verification.json").read_text())
    for rollout in stored["rollouts"]:
        logprobs = completion_logprobs(model, rollout["prompt_ids"], rollout["completion_ids"], 1.0)
        assert logprobs.tolist() == pytest.approx(rollout["logprobs"], abs=1e-4)


def test_verify_refuses_an_adapter_that_is_not_the_trained_one(out, model_folder, tmp_path, capsys):
    arguments = ["verify", out / "package", "--base", model_folder]
    assert run_engine(*arguments) == 0
    stored = json.loads((out / "verification.json").read_text())
    stored["rollouts"][0]["logprobs"][0] -= 0.01
    (tmp_path / "other.json").write_text(json.dumps(stored))
    assert run_engine(*arguments, "--rollouts", tmp_path / "other.json") == 1
    verdict = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert verdict["difference"] == pytest.approx(0.01, abs=1e-4)


def test_sample_draws_answers_of_the_base_model_in_order(model_folder, tmp_path):
    messages = [{"role": "user", "content": "a b"}]
    spec: dict[str, Any] = {
        "base_model": {"id": "tests/tiny", "path": str(model_folder)},
        "rows": [{"messages": messages, "item": {}}] * 2,
        "samples_per_row": 3,
        "max_completion_length": 8,
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert run_engine("sample", tmp_path / "spec.json", "--out", tmp_path / "out") == 0
    drawn = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert [(sample["index"], sample["row_index"]) for sample in drawn] == list(enumerate([0, 0, 0, 1, 1, 1]))
    assert all(sample["length"] <= 8 and isinstance(sample["completion"], str) for sample in drawn)
    assert len({sample["completion"] for sample in drawn}) > 1


def test_without_a_test_split_the_validation_rows_serve_and_the_log_says_so(write_spec, tmp_path):
    spec = write_spec(dataset={"test": None}, grpo={"max_steps": 2})
    assert run_engine("run", spec, "--out", tmp_path / "out") == 0
    events = events_of(tmp_path / "out")
    assert of_type(events, "evaluation")[-1].split == "validation"
    assert any("no test split" in event.message for event in of_type(events, "log"))


def test_more_rollouts_than_go_through_at_once_and_a_kl_penalty_train_too(write_spec, tmp_path):
    """96 rollouts are two micro-batches of 48: TRL takes the mean of their KLs, we that of all tokens."""
    spec = write_spec(
        train=12,
        grpo={"group_size": 12, "prompts_per_step": 8, "max_steps": 2, "beta": 0.1, "warmup_steps": 0},
        evaluation={"every": 0},
    )
    assert run_engine("run", spec, "--out", tmp_path / "out") == 0
    events = events_of(tmp_path / "out")
    second = of_type(events, "metrics")[1].values
    assert second["kl"] == pytest.approx(second["kl_to_base"], rel=1e-2)
    assert second["kl"] > 0
    assert [len(event.rollouts) for event in of_type(events, "rollouts")] == [96, 96]


SOURCE = """
def grade(sample, item):
    if "cold" in sample["output_text"]:
        raise ValueError("too cold")
    return len(sample["output_text"]) % 7 / 7
"""
python_graders = pytest.mark.skipif(not probe().available, reason=probe().reason)


@python_graders
def test_a_python_grader_that_fails_on_some_answers_leaves_holes_and_no_zeros(write_spec, tmp_path):
    spec = write_spec(grader={"type": "python", "name": "length", "source": SOURCE}, grpo={"max_steps": 2})
    assert run_engine("run", spec, "--out", tmp_path / "out") == 0
    events = events_of(tmp_path / "out")
    rollouts = [rollout for event in of_type(events, "rollouts") for rollout in event.rollouts]
    failed = [rollout for rollout in rollouts if "cold" in rollout.completion]
    silenced = {(rollout.adapter_step, rollout.group) for rollout in failed}
    assert failed
    assert {rollout.error_class for rollout in failed} == {"python_grader_runtime_error"}
    assert "too cold" in failed[0].error_detail
    for rollout in rollouts:
        if (rollout.adapter_step, rollout.group) in silenced:
            assert (rollout.reward, rollout.advantage) == (None, 0)
        else:
            assert rollout.reward == pytest.approx(len(rollout.completion) % 7 / 7)
    assert any("too cold" in event.message for event in of_type(events, "log"))
    assert of_type(events, "evaluation")[-1].base.grading_error_share > 0


@python_graders
def test_a_grader_that_never_works_ends_the_job_before_training_with_its_words(write_spec, tmp_path):
    source = "def grade(sample, item):\n    return undefined_name\n"
    spec = write_spec(grader={"type": "python", "name": "broken", "source": source})
    assert run_engine("run", spec, "--out", tmp_path / "out") == 1
    events = events_of(tmp_path / "out")
    error = of_type(events, "error")[0]
    assert (error.code, "undefined_name" in error.detail) == ("grading_failed", True)
    assert not of_type(events, "metrics")
