"""Several processes, one adapter: on a CPU two of them do what several GPUs would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.workers.engine_jobs import events_of, of_type
from workers.engine.parallel import Followers

STEPS = {"max_steps": 4, "prompts_per_step": 4, "checkpoint_every": 2}


def started(spec: Path, out: Path, *more: Any) -> subprocess.Popen[bytes]:
    """A leader of its own: a process joins one group in its life."""
    command = [
        sys.executable,
        "-m",
        "workers.engine",
        "run",
        str(spec),
        "--out",
        str(out),
        "--processes",
        "2",
    ]
    return subprocess.Popen([*command, *map(str, more)])


def run(spec: Path, out: Path, *more: Any) -> list[Any]:
    started(spec, out, *more).wait(300)
    return events_of(out)


def wait_for_a_step(out: Path) -> None:
    while not (out / "events.jsonl").exists() or not of_type(events_of(out), "metrics"):
        time.sleep(0.05)


def adapter(out: Path) -> bytes:
    package = out / of_type(events_of(out), "done")[-1].package
    return (package / "adapter_model.safetensors").read_bytes()


def test_whole_groups_of_all_processes_are_graded_recorded_and_learnt_from(write_spec, tmp_path):
    """Checkpoints compare the processes' adapters, which learning from its own groups alone would part.

    The first step's loss is -Σ A·n / Σ n over all rollouts: the policy is still the reference.
    """
    spec = write_spec(train=16, grpo=STEPS | {"beta": 0.1, "loss_type": "bnpo"})
    events = run(spec, tmp_path / "one")
    assert of_type(events, "done")[-1].outcome == "succeeded"
    metrics = of_type(events, "metrics")
    assert [event.step for event in metrics] == [1, 2, 3, 4]
    for event in of_type(events, "rollouts"):
        groups = [rollout.group for rollout in event.rollouts]
        size = len(groups) // 4
        assert groups == [number for number in range(4) for _ in range(size)]
        assert all(rollout.advantage is not None for rollout in event.rollouts if rollout.reward is not None)
        rows = [rollout.row_id for rollout in event.rollouts]
        assert len({*rows}) == 4
        completions = [rollout.completion for rollout in event.rollouts]
        assert completions[: 2 * size] != completions[2 * size :], "the processes drew different answers"
    assert metrics[-1].values["sampling/logp_gap"] < 1e-4
    first = of_type(events, "rollouts")[0].rollouts
    tokens = sum(rollout.length for rollout in first)
    loss = -sum((rollout.advantage or 0.0) * rollout.length for rollout in first) / tokens
    assert metrics[0].values["loss"] == pytest.approx(loss, rel=1e-3)


def test_stopped_and_resumed_they_end_with_the_same_adapter(write_spec, tmp_path):
    spec = write_spec(train=16, grpo=STEPS)
    run(spec, tmp_path / "calm")
    process = started(spec, tmp_path / "cut")
    wait_for_a_step(tmp_path / "cut")
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    events = events_of(tmp_path / "cut")
    assert of_type(events, "done")[-1].outcome == "stopped"
    saved = tmp_path / "cut" / of_type(events, "checkpoint")[-1].path
    assert (saved / "rng_state_1.pth").exists()
    run(spec, tmp_path / "rest", "--resume", saved)
    assert adapter(tmp_path / "rest") == adapter(tmp_path / "calm")


def test_told_to_finish_early_they_end_together_and_a_resume_trains_no_further(write_spec, tmp_path):
    (tmp_path / "finish").touch()
    finish = ("--finish-file", tmp_path / "finish")
    spec = write_spec(train=16, grpo=STEPS | {"max_steps": 400, "warmup_steps": 0})
    events = run(spec, tmp_path / "one", *finish)
    done, saved = of_type(events, "done")[-1], of_type(events, "checkpoint")[-1]
    assert (done.outcome, done.step) == ("succeeded", saved.step)
    assert done.step < 4
    again = run(spec, tmp_path / "two", "--resume", tmp_path / "one" / saved.path, *finish)
    assert not of_type(again, "metrics")
    assert adapter(tmp_path / "two") == adapter(tmp_path / "one")


def test_a_lost_process_ends_the_job_and_says_so(write_spec, tmp_path):
    spec = write_spec(train=16, grpo=STEPS | {"max_steps": 400})
    out = tmp_path / "lost"
    process = started(spec, out)
    wait_for_a_step(out)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    follower = next(
        int(each) for each in children if b"workers.engine" in Path(f"/proc/{each}/cmdline").read_bytes()
    )
    os.kill(follower, signal.SIGKILL)
    assert process.wait(120) == 1
    (error,) = of_type(events_of(out), "error")
    assert error.code == "follower_lost"


def test_a_process_that_has_trained_to_the_end_is_not_lost_while_the_leader_packages():
    helped, failed = subprocess.Popen(["true"]), subprocess.Popen(["false"])
    helped.wait()
    failed.wait()
    assert Followers([helped]).find_lost() is None
    assert Followers([helped, failed]).find_lost() == 2


def test_prompts_that_cannot_be_shared_evenly_are_refused(write_spec, tmp_path):
    spec = write_spec(grpo={"prompts_per_step": 3})
    events = run(spec, tmp_path / "out")
    assert [event.code for event in of_type(events, "error")] == ["uneven_prompts"]
