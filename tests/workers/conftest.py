"""Fixtures of the engine tests: a tiny model on disk and a writer of small job specs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: tests share their cores with others

import torch

from tests.workers.engine_jobs import small_spec, tiny_model, tiny_tokenizer

torch.set_num_threads(1)

SpecWriter = Callable[..., Path]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with the tokenizer config that transformers 4 writes, as most published models have."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config["additional_special_tokens"] = config.pop("extra_special_tokens")
    file.write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


@pytest.fixture(scope="session")
def small_job(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The spec of a finished small job, run as the bridge runs it: in a process of its own, to ``out``."""
    folder = tmp_path_factory.mktemp("job")
    spec = folder / "spec.json"
    spec.write_text(json.dumps(small_spec(folder, model_folder)))
    command = [sys.executable, "-m", "workers.engine", "run", spec, "--out", folder / "out"]
    subprocess.run(command, check=True)
    return spec


@pytest.fixture
def write_spec(tmp_path: Path, model_folder: Path) -> SpecWriter:
    """Write the small job's spec, changed by sections: ``write_spec(grpo={"beta": 0.1})``."""

    def write(train: int = 9, **changes: Any) -> Path:
        spec = small_spec(tmp_path, model_folder, train)
        grader = {"grader": changes.pop("grader", spec["grader"])}
        for name, value in changes.items():
            spec[name] = {**spec[name], **value} if isinstance(value, dict) and name in spec else value
        spec |= grader
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(spec))
        return path

    return write
