"""Every failure of a job is in its events, with a code, the cause and a remedy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workers.conftest import SpecWriter
from tests.workers.engine_jobs import (
    events_of,
    of_type,
    rows,
    run_engine,
    tiny_model,
    tiny_tokenizer,
    write_split,
)
from workers.contract.events import ErrorEvent
from workers.engine.errors import EngineError
from workers.engine.training.reporting import Reporter


def failure(spec: Path, out: Path) -> ErrorEvent:
    """Run a job that must fail and return its error; the last event must have the outcome "failed"."""
    assert run_engine("run", spec, "--out", out) == 1
    events = events_of(out)
    assert events[-1].model_dump(include={"type", "outcome"}) == {"type": "done", "outcome": "failed"}
    error: ErrorEvent = of_type(events, "error")[0]
    assert error.message
    assert error.remedy
    return error


def test_a_changed_data_file(write_spec: SpecWriter, tmp_path: Path):
    spec = write_spec()
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write("{}\n")
    error = failure(spec, tmp_path / "out")
    assert (error.code, "train.jsonl" in error.message) == ("data_hash_mismatch", True)


def test_a_missing_data_file(write_spec: SpecWriter, tmp_path: Path):
    spec = write_spec()
    (tmp_path / "test.jsonl").unlink()
    assert failure(spec, tmp_path / "out").code == "data_missing"


def test_a_row_that_is_no_row(write_spec: SpecWriter, tmp_path: Path):
    spec = json.loads(write_spec().read_text())
    broken: list[Any] = [rows(1)[0], {"row_id": "x"}]
    spec["dataset"]["train"] = write_split(tmp_path, "train", broken)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    error = failure(tmp_path / "spec.json", tmp_path / "out")
    assert (error.code, "line 2" in error.message) == ("data_row_invalid", True)


def test_fewer_rows_than_one_step_needs(write_spec: SpecWriter, tmp_path: Path):
    error = failure(write_spec(train=3), tmp_path / "out")
    assert error.code == "too_few_rows"
    assert "prompts per step to 3" in error.remedy


def test_prompts_that_are_too_long_are_named(write_spec: SpecWriter, tmp_path: Path):
    error = failure(write_spec(grpo={"max_prompt_length": 4}), tmp_path / "out")
    assert (error.code, "row-0" in error.message) == ("prompt_too_long", True)


def test_an_answer_that_cannot_fit_the_context(write_spec: SpecWriter, tmp_path: Path):
    error = failure(write_spec(grpo={"max_completion_length": 126}), tmp_path / "out")
    assert (error.code, "128" in error.message) == ("context_too_short", True)


def test_no_rows_held_out(write_spec: SpecWriter, tmp_path: Path):
    spec = write_spec(dataset={"validation": None, "test": None})
    assert failure(spec, tmp_path / "out").code == "no_held_out_rows"


def test_a_base_model_that_is_not_there(write_spec: SpecWriter, tmp_path: Path):
    spec = write_spec(base_model={"path": str(tmp_path / "nowhere")})
    assert failure(spec, tmp_path / "out").code == "model_not_found"


def test_a_hub_that_cannot_be_reached_names_the_ways_out(
    write_spec: SpecWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    spec = write_spec(base_model={"id": "nobody/has-this-model", "path": None})
    error = failure(spec, tmp_path / "out")
    assert error.code == "hub_unreachable"
    assert "HF_HUB_OFFLINE" in error.remedy
    assert "local folder" in error.remedy


def test_a_model_without_a_chat_template(write_spec: SpecWriter, tmp_path: Path):
    folder, tokenizer = tmp_path / "plain", tiny_tokenizer()
    tokenizer.chat_template = None
    tiny_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert failure(write_spec(base_model={"path": str(folder)}), tmp_path / "out").code == "no_chat_template"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_job_on_a_machine_without_gpu(write_spec: SpecWriter, tmp_path: Path):
    spec = write_spec(resources={"device": "cuda", "gpus": 1})
    assert failure(spec, tmp_path / "out").code == "cuda_missing"


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_training_that_breaks_down_ends_the_job_before_it_is_saved(name: str):
    reporter = object.__new__(Reporter)
    before = [{"step": step, "grad_norm": 10.0**step} for step in range(1, 7)]
    with pytest.raises(EngineError, match=f"step 7: {name} is nan") as caught:
        reporter.refuse_not_finite(7, {"loss": 0.1, "grad_norm": 0.2, name: float("nan")}, before)
    assert "learning rate" in caught.value.remedy
    assert "step 6, grad_norm 1e+06" in caught.value.detail


def test_a_wrong_spec_is_explained_at_once_without_loading_torch(write_spec: SpecWriter, tmp_path: Path):
    spec = write_spec(grpo={"group_size": 1})
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "workers.engine",
        "run",
        spec,
        "--out",
        tmp_path / "out",
    ]
    started = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert time.monotonic() - started < 5
    assert result.returncode == 1
    assert "grpo.group_size" in result.stderr
    assert "greater than or equal to 2" in result.stderr
    assert " torch\n" not in result.stderr


def test_half_a_line_of_a_killed_writer_does_not_spoil_the_next_event(write_spec: SpecWriter, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    whole = '{"type":"phase","phase":"prepare"}\n'
    (out / "events.jsonl").write_text(whole + '{"type":"metr')
    failure(write_spec(train=3), out)
    assert [event.type for event in events_of(out)][:3] == ["phase", "phase", "error"]
