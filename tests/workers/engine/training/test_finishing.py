"""Training that ends before its last step: on request, and for a checkpoint that becomes a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.workers.engine.training.test_resume import start, wait_for
from tests.workers.engine_jobs import events_of, of_type, run_engine, small_spec


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> tuple[Path, Path]:
    """The spec of six steps and the folder of the run that did them all."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "spec.json").write_text(json.dumps(small_spec(folder, model_folder)))
    assert run_engine("run", folder / "spec.json", "--out", folder / "out") == 0
    return folder / "spec.json", folder / "out"


def run_file(out: Path) -> dict[str, object]:
    return dict(json.loads((out / "package" / "run.json").read_text()))


def test_a_job_told_to_finish_early_evaluates_and_packages_at_a_step_boundary(write_spec, tmp_path):
    spec, out, told = write_spec(grpo={"max_steps": 500}), tmp_path / "out", tmp_path / "finish"
    job = start("run", spec, "--out", out, "--finish-file", told)
    wait_for(out, '"type":"metrics","step":3', job)
    told.touch()
    assert job.wait(120) == 0
    events = events_of(out)
    last = of_type(events, "metrics")[-1]
    assert 3 <= last.step < 500
    assert last.total_steps == 500
    assert (events[-1].outcome, events[-1].step) == ("succeeded", last.step)
    assert of_type(events, "checkpoint")[-1].step == last.step
    (after,) = (event for event in of_type(events, "evaluation") if event.stage == "after")
    assert (after.step, after.split) == (last.step, "test")
    assert {name: run_file(out)[name] for name in ("steps", "planned_steps", "promoted_from")} == {
        "steps": last.step, "planned_steps": 500, "promoted_from": None,
    }  # fmt: skip
    assert "500 steps were planned" in (out / "package" / "README.md").read_text()
    left = [event.eta_seconds for event in of_type(events, "progress") if event.phase == "evaluate"]
    assert max(left) < 300  # not the hundreds of steps that nobody will do


def test_after_a_crash_a_job_told_to_finish_early_trains_no_further(whole, tmp_path):
    spec, out = whole
    (tmp_path / "finish").touch()
    again = tmp_path / "again"
    arguments = ["--resume", out / "checkpoints" / "step-3", "--finish-file", tmp_path / "finish"]
    assert run_engine("run", spec, "--out", again, *arguments) == 0
    events = events_of(again)
    assert not of_type(events, "metrics")
    assert (events[-1].outcome, events[-1].step, run_file(again)["steps"]) == ("succeeded", 3, 3)


def test_finishing_waits_for_the_first_step_that_changes_the_adapter(write_spec, tmp_path):
    """The learning rate of the first step is 0 while it warms up: there is nothing to package after it."""
    (tmp_path / "finish").touch()
    spec = write_spec(grpo={"warmup_steps": 1})
    assert run_engine("run", spec, "--out", tmp_path / "out", "--finish-file", tmp_path / "finish") == 0
    assert 1 < events_of(tmp_path / "out")[-1].step < 6


def test_a_checkpoint_becomes_a_model_that_says_where_it_comes_from(whole, tmp_path):
    path, out = whole
    for name in ("train", "validation", "test"):
        shutil.copy(path.parent / f"{name}.jsonl", tmp_path)
    spec = json.loads(path.read_text()) | {"job_id": "job-2", "promoted_from": {"job_id": "job-1", "step": 3}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    promoted, source = tmp_path / "promoted", out / "checkpoints" / "step-3"
    assert run_engine("run", tmp_path / "spec.json", "--out", promoted, "--resume", source) == 0
    events = events_of(promoted)
    assert not of_type(events, "metrics")
    assert [event.step for event in of_type(events, "evaluation") if event.stage == "after"] == [3]
    said = run_file(promoted)
    assert (said["steps"], said["planned_steps"]) == (3, 6)
    assert said["promoted_from"] == {"job_id": "job-1", "step": 3}
    assert "after step 3 of job `job-1`" in (promoted / "package" / "README.md").read_text()
    weights = "adapter_model.safetensors"
    assert (promoted / "package" / weights).read_bytes() != (out / "package" / weights).read_bytes()


def test_a_promotion_never_starts_from_nothing_or_from_another_step(whole, tmp_path):
    path, out = whole
    spec = json.loads(path.read_text()) | {"promoted_from": {"job_id": "job-1", "step": 3}}
    (path.parent / "promotion.json").write_text(json.dumps(spec))
    for resume in ([], ["--resume", out / "checkpoints" / "step-6"]):
        folder = tmp_path / f"out{len(resume)}"
        assert run_engine("run", path.parent / "promotion.json", "--out", folder, *resume) == 1
        assert of_type(events_of(folder), "error")[0].code == "checkpoint_missing"
