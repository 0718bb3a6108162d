"""A killed, paused or orphaned job loses nothing and repeats nothing."""

from __future__ import annotations

import inspect
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.course import without_clocks
from tests.workers.engine_jobs import events_of, of_type, run_engine, small_spec
from workers.contract.events import EventWriter
from workers.contract.spec import JobSpec
from workers.engine.checkpoint import MANIFEST
from workers.engine.run import Job, run_job


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "workers.engine", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)


def wait_for(out: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "events.jsonl").exists() and text in (out / "events.jsonl").read_text():
            return
        time.sleep(0.005)
    raise AssertionError(f"{text} did not appear in {out}")


def course(out: Path) -> dict[Any, Any]:
    """Return all events of a run by kind and step, without clock times."""
    said: dict[Any, Any] = {}
    for event in events_of(out):
        values = event.model_dump(exclude={"time"})
        if event.type == "metrics":
            values["values"] = without_clocks(event.values)
        if event.type in ("metrics", "rollouts", "evaluation"):
            said[event.type, event.step, values.get("stage")] = values
    return said


def adapter(out: Path) -> bytes:
    return (out / "package" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> tuple[Path, Path]:
    """The spec of 25 steps and the folder of the run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    spec = small_spec(folder, model_folder)
    spec["grpo"]["max_steps"] = 25
    (folder / "spec.json").write_text(json.dumps(spec))
    assert run_engine("run", folder / "spec.json", "--out", folder / "out") == 0
    return folder / "spec.json", folder / "out"


def test_a_run_killed_and_resumed_equals_the_undisturbed_run_bit_for_bit(undisturbed, tmp_path):
    """Nine rows with four per step are two steps per epoch: step 3, the checkpoint, is within epoch 2."""
    spec, whole = undisturbed
    killed = start("run", spec, "--out", tmp_path / "killed")
    wait_for(tmp_path / "killed", '"type":"metrics","step":5', killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    checkpoint = tmp_path / "killed" / "checkpoints" / "step-3"
    assert run_engine("run", spec, "--out", tmp_path / "resumed", "--resume", checkpoint) == 0
    expected = {key: value for key, value in course(whole).items() if key[1] > 3}
    assert course(tmp_path / "resumed") == expected
    assert adapter(tmp_path / "resumed") == adapter(whole)


def test_sigterm_finishes_the_step_saves_it_and_the_rest_goes_on_from_there(undisturbed, tmp_path):
    spec, whole = undisturbed
    paused = start("run", spec, "--out", tmp_path / "paused")
    wait_for(tmp_path / "paused", '"type":"metrics","step":1', paused)
    paused.terminate()
    assert paused.wait(timeout=60) == 0
    events = events_of(tmp_path / "paused")
    saved = of_type(events, "checkpoint")[-1]
    assert events[-1].outcome == "stopped"
    assert events[-1].step == saved.step == of_type(events, "metrics")[-1].step < 25
    checkpoint = tmp_path / "paused" / saved.path
    assert run_engine("run", spec, "--out", tmp_path / "rest", "--resume", checkpoint) == 0
    assert adapter(tmp_path / "rest") == adapter(whole)


def test_resuming_after_the_last_step_trains_no_further(undisturbed, tmp_path):
    """25 steps are half an epoch more than 24: TRL alone would finish that epoch."""
    spec, whole = undisturbed
    checkpoint = whole / "checkpoints" / "step-25"
    assert run_engine("run", spec, "--out", tmp_path / "again", "--resume", checkpoint) == 0
    assert not of_type(events_of(tmp_path / "again"), "metrics")
    assert adapter(tmp_path / "again") == adapter(whole)


def test_a_torn_checkpoint_is_refused(undisturbed, tmp_path):
    spec, whole = undisturbed
    checkpoint = shutil.copytree(whole / "checkpoints" / "step-3", tmp_path / "copy")
    optimizer = checkpoint / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    assert run_engine("run", spec, "--out", tmp_path / "torn", "--resume", checkpoint) == 1
    error = of_type(events_of(tmp_path / "torn"), "error")[0]
    assert (error.code, "optimizer.pt" in error.message) == ("checkpoint_damaged", True)
    (checkpoint / MANIFEST).unlink()
    assert run_engine("run", spec, "--out", tmp_path / "bare", "--resume", checkpoint) == 1
    assert MANIFEST in of_type(events_of(tmp_path / "bare"), "error")[0].message


def test_a_checkpoint_of_another_job_is_refused(undisturbed, write_spec, tmp_path):
    _, whole = undisturbed
    other = write_spec(grpo={"max_steps": 25, "learning_rate": 0.02})
    arguments = ["run", other, "--out", tmp_path / "other", "--resume", whole / "checkpoints" / "step-3"]
    assert run_engine(*arguments) == 1
    assert of_type(events_of(tmp_path / "other"), "error")[0].code == "checkpoint_mismatch"


def test_the_engine_dies_with_the_process_that_started_it(write_spec, tmp_path):
    spec = write_spec(grpo={"max_steps": 10_000})
    reader, writer = os.pipe()
    engine = start("run", spec, "--out", tmp_path / "out", "--lifeline", reader, pass_fds=[reader])
    os.close(reader)
    wait_for(tmp_path / "out", '"type":"metrics"', engine)
    os.close(writer)
    assert engine.wait(timeout=5) != 0
    assert not of_type(events_of(tmp_path / "out"), "done")


@pytest.mark.parametrize("checks", [150, 210])
def test_a_job_stopped_in_the_middle_of_a_step_goes_on_from_the_last_whole_one(undisturbed, tmp_path, checks):
    """``checks`` is the number of stop checks before the stop, at each token and each pass."""
    path, expected = undisturbed
    spec = JobSpec.model_validate_json(path.read_text())
    asked = 0

    def stopping() -> bool:
        nonlocal asked
        asked += 1
        return asked > checks

    first, second = tmp_path / "first", tmp_path / "second"
    for out, told in ((first, stopping), (second, lambda: False)):
        out.mkdir()
        resume = newest_checkpoint(first) if out is second else None
        with (out / "events.jsonl").open("a") as file:
            assert run_job(Job(spec, path.parent, out, EventWriter(file), told), resume) == 0
    stopped = events_of(first)[-1]
    assert stopped.outcome == "stopped"
    assert newest_checkpoint(first).name == f"step-{stopped.step}"
    assert adapter(second) == adapter(expected)
    whole = course(expected)
    assert {**course(first), **course(second)} == whole


def test_a_full_disk_costs_a_checkpoint_and_not_the_job(write_spec, tmp_path):
    spec = write_spec(lora={"rank": 64}, grpo={"max_steps": 9})
    out = tmp_path / "out"
    process = start("run", spec, "--out", out, preexec_fn=lambda: limit_files(200_000))
    wait_for(out, "was not written", process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert process.wait(120) == 0
    events = events_of(out)
    kept = [event.step for event in of_type(events, "checkpoint")]
    messages = " ".join(event.message for event in of_type(events, "log"))
    refused = {int(step) for step in re.findall(r"checkpoint of step (\d+) was not written", messages)}
    assert refused
    assert not refused & set(kept)
    assert kept[-1] == 9
    assert events[-1].outcome == "succeeded"


def limit_files(size: int) -> None:
    """No file may grow larger, which a writer meets as it meets a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def newest_checkpoint(out: Path) -> Path:
    return max((out / "checkpoints").glob("step-*"), key=lambda path: int(path.name.split("-")[1]))


def test_a_job_stopped_in_an_evaluation_between_epochs_goes_on_bit_for_bit(write_spec, tmp_path):
    """The next epoch's order has been drawn by then, and is drawn again on the way on."""
    grpo = {"max_steps": 4, "prompts_per_step": 4, "checkpoint_every": 5, "group_size": 4}
    path = write_spec(train=8, grpo=grpo, evaluation={"every": 2})
    spec = JobSpec.model_validate_json(path.read_text())
    expected, first, second = (tmp_path / name for name in ("expected", "first", "second"))

    def evaluating() -> bool:
        return any(frame.function == "_evaluate_if_due" for frame in inspect.stack(context=0))

    for out, told in ((expected, lambda: False), (first, evaluating), (second, lambda: False)):
        out.mkdir()
        resume = newest_checkpoint(first) if out is second else None
        with (out / "events.jsonl").open("a") as file:
            assert run_job(Job(spec, path.parent, out, EventWriter(file), told), resume) == 0
    assert newest_checkpoint(first).name == "step-2"
    assert adapter(second) == adapter(expected)
    assert {**course(first), **course(second)} == course(expected)
