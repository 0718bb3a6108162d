"""A checkpoint is whole and this job's own, or it is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.minimal_spec import FILE, GRADER, SPEC
from workers.contract.spec import JobSpec
from workers.engine.checkpoint import MANIFEST, Checkpoint, fingerprint, open_checkpoint, seal
from workers.engine.errors import EngineError


def print_of(**changes: Any) -> str:
    return fingerprint(JobSpec.model_validate(SPEC | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": "job-2"},
        {"model_name": "other"},
        {"labels": {"team": "a"}},
        {"resources": {"cpu_cores": 4}},
        {"evaluation": {"every": 5}},
        {"preflight": {"rows": 0}},
        {"alarm": {"pause": True}},
        {"base_model": {"id": "org/model", "path": "/models/m"}},
        {"dataset": {"sha256": "d" * 64, "train": FILE | {"path": "moved.jsonl"}}},
        {"promoted_from": {"job_id": "j", "step": 3}},
        {"seed": 0},
        {"lora": {"rank": 16}},
        {"judges": {"m": {"base_url": "http://127.0.0.1/v1", "model": "m", "spent": 2.0}}},
    ],
)
def test_a_job_resumes_after_changes_that_do_not_reach_training(changes: dict[str, Any]) -> None:
    assert print_of(**changes) == print_of()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"lora": {"rank": 8}},
        {"grpo": {"learning_rate": 1e-4}},
        {"chat": {"grade": "whole"}},
        {"grader_sha256": "f" * 64},
        {"base_model": {"id": "org/model", "revision": "v2"}},
        {"base_model": {"id": "org/model", "template_arguments": {"think": False}}},
        {"dataset": {"sha256": "d" * 64, "train": FILE | {"sha256": "b" * 64}}},
        {"initial_adapter": {"id": "a", "path": "/a", "sha256": "c" * 64}},
        {"tasks": {"t": {"grader": GRADER, "grader_sha256": "1" * 64}}},
        {"method": "sft", "sft": {"rows": FILE}},
    ],
)
def test_a_job_does_not_resume_after_changes_that_do(changes: dict[str, Any]) -> None:
    assert print_of(**changes) != print_of()


def test_an_initial_adapter_and_demonstrations_are_known_by_their_content() -> None:
    first = {"id": "a", "path": "/a", "sha256": "c" * 64}
    assert print_of(initial_adapter=first) == print_of(initial_adapter=first | {"id": "b", "path": "/b"})
    moved = FILE | {"path": "other.jsonl"}
    assert print_of(method="sft", sft={"rows": FILE}) == print_of(method="sft", sft={"rows": moved})


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    written = tmp_path / "writing"
    (written / "inner").mkdir(parents=True)
    (written / "adapter.bin").write_bytes(b"weights")
    (written / "inner" / "state.json").write_text("{}")
    seal(written, tmp_path / "checkpoints" / "step-4", 4, 12.5, "spec")
    return tmp_path / "checkpoints" / "step-4"


def test_a_sealed_checkpoint_opens_with_its_step_and_time(sealed: Path, tmp_path: Path) -> None:
    assert open_checkpoint(sealed, "spec") == Checkpoint(sealed, 4, 12.5)
    assert not (tmp_path / "writing").exists()


def test_a_checkpoint_that_is_written_again_replaces_the_old_one(sealed: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "adapter.bin").write_bytes(b"later")
    seal(tmp_path / "again", sealed, 5, 20.0, "spec")
    assert open_checkpoint(sealed, "spec").step == 5
    assert sorted(path.name for path in sealed.iterdir()) == ["adapter.bin", MANIFEST]


def change_manifest(**changes: Any) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(manifest | changes))

    return write


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing or unreadable"),
        (lambda folder: (folder / MANIFEST).write_text('{"step": 4'), "unreadable"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "unreadable"),
        (lambda folder: (folder / MANIFEST).write_text("{}"), "unreadable"),
        (change_manifest(files=3), "unreadable"),
        (change_manifest(step=None), "unreadable"),
        (change_manifest(train_seconds="long"), "unreadable"),
        (
            lambda folder: (folder / "adapter.bin").write_bytes(b"weighty"),
            "adapter.bin is missing or changed",
        ),
        (lambda folder: (folder / "inner" / "state.json").unlink(), "state.json is missing or changed"),
    ],
)
def test_a_damaged_checkpoint_says_what_is_damaged(
    sealed: Path, harm: Callable[[Path], object], words: str
) -> None:
    harm(sealed)
    with pytest.raises(EngineError, match=words) as caught:
        open_checkpoint(sealed, "spec")
    assert caught.value.code == "checkpoint_damaged"
    assert "earlier checkpoint" in caught.value.remedy


def test_another_jobs_checkpoint_is_refused(sealed: Path) -> None:
    with pytest.raises(EngineError, match="other settings, data or grader") as caught:
        open_checkpoint(sealed, "another")
    assert caught.value.code == "checkpoint_mismatch"
