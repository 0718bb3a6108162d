"""Training continues from an adapter: the reference is that adapter, and it keeps its shape."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.workers.engine.training.test_resume import course
from tests.workers.engine_jobs import events_of, of_type, run_engine, small_spec


def continuing(folder: Path, model: Path, package: Path, **changes: Any) -> Path:
    """The spec of a job that starts from a copy of ``package``."""
    spec = small_spec(folder, model)
    adapter = shutil.copytree(package, folder / "start")
    sha256 = hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    spec["initial_adapter"] = {"id": "first", "path": "start", "sha256": sha256}
    for name, value in changes.items():
        spec[name] = {**spec[name], **value}
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder / "spec.json"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The folder of a finished job, whose learning rate has moved its adapter far from the base."""
    folder = tmp_path_factory.mktemp("first")
    spec = small_spec(folder, model_folder)
    spec["grpo"]["learning_rate"] = 0.03
    (folder / "spec.json").write_text(json.dumps(spec))
    assert run_engine("run", folder / "spec.json", "--out", folder / "out") == 0
    return folder / "out"


@pytest.fixture(scope="module", params=[0.0, 0.1], ids=["no KL penalty", "KL penalty"])
def continued(request, tmp_path_factory, first, model_folder):
    """The weight of the KL penalty, the spec and the folder of a finished job that continues the first."""
    folder, beta = tmp_path_factory.mktemp("continued"), request.param
    spec = continuing(folder, model_folder, first / "package", grpo={"beta": beta, "warmup_steps": 0})
    assert run_engine("run", spec, "--out", folder / "out") == 0
    return beta, spec, folder / "out"


def test_the_reference_is_the_adapter_that_training_starts_from(first, continued):
    """TRL issue 4723: with adapters off, the KL of the first step would already be far from 0."""
    beta, _, out = continued
    steps = of_type(events_of(out), "metrics")
    known = [step.values["kl_to_base"] for step in steps if "kl_to_base" in step.values]
    assert steps[0].values["kl_to_base"] == pytest.approx(0, abs=1e-6)
    assert known[-1] > 1e-3
    if beta:
        assert steps[0].values["kl"] == pytest.approx(0, abs=1e-6)
    last_of_first = of_type(events_of(first), "metrics")[-1].values
    assert last_of_first["kl_to_base"] > 0.01


def test_the_compared_arm_is_the_start(first, continued):
    """The mean reward of the first job's tuned model equals that of this job's base side."""
    before = of_type(events_of(first), "evaluation")[-1]
    after = of_type(events_of(continued[2]), "evaluation")[-1]
    assert after.base.reward == before.tuned.reward
    assert after.base.reward != before.base.reward


def test_the_package_holds_one_adapter_that_moved_from_the_start(first, continued):
    package = continued[2] / "package"
    assert not [path for path in package.iterdir() if path.is_dir()]
    began, ended = (
        load_file(folder / "adapter_model.safetensors") for folder in (first / "package", package)
    )
    assert began.keys() == ended.keys()
    assert any((began[name] != ended[name]).any() for name in began)
    run = json.loads((package / "run.json").read_text())
    assert run["start"]["id"] == "first"
    assert "continues the adapter `first`" in (package / "README.md").read_text()


def test_a_continued_job_resumes_bit_for_bit_with_the_same_reference(continued, tmp_path):
    _, spec, out = continued
    assert (
        run_engine("run", spec, "--out", tmp_path / "rest", "--resume", out / "checkpoints" / "step-3") == 0
    )
    expected = {key: value for key, value in course(out).items() if key[1] > 3}
    assert course(tmp_path / "rest") == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rank": 8}, ("rank 4 and alpha 8", "rank 8 and alpha 8")),
        ({"alpha": 16}, ("rank 4 and alpha 8", "rank 4 and alpha 16")),
        ({"targets": r".*\.q_proj"}, ("q_proj", "targets")),
    ],
)
def test_settings_that_disagree_with_the_adapter_are_refused(first, model_folder, tmp_path, change, said):
    lora = {"rank": 4, "alpha": 8} | change
    spec = continuing(tmp_path, model_folder, first / "package", lora=lora)
    assert run_engine("run", spec, "--out", tmp_path / "out") == 1
    error = of_type(events_of(tmp_path / "out"), "error")[0]
    assert error.code == "initial_adapter_disagrees"
    assert all(words in error.message for words in said)


def test_an_adapter_that_is_not_the_pinned_one_is_refused(first, model_folder, tmp_path):
    spec = continuing(tmp_path, model_folder, first / "package")
    weights = tmp_path / "start" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x00\x01")
    assert run_engine("run", spec, "--out", tmp_path / "out") == 1
    assert of_type(events_of(tmp_path / "out"), "error")[0].code == "data_hash_mismatch"
