"""``make gpu-check`` in its small form: every item runs on the CPU, so that it does not rot without a GPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.gpu import check, items

IN_PROCESS = [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("number", IN_PROCESS)
def test_an_item_passes_on_the_cpu(number: int, tmp_path: Path) -> None:
    items.run(number, tmp_path, small=True)
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [line["failed"] for line in lines if "failed" in line] == []
    assert any(line.get("measured") for line in lines)


def test_every_item_has_a_module_and_all_fit_into_eight_minutes() -> None:
    assert {item.number for item in check.ITEMS} == set(items.MODULES)
    for module in items.MODULES.values():
        assert (ROOT / "tests" / "gpu" / f"{module}.py").is_file()
    assert sum(item.limit for item in check.ITEMS) <= 480


def test_an_item_that_is_cut_or_crashes_does_not_stop_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = (
        check.Item(1, "cut", 0.2),
        check.Item(99, "unknown", 60),
        check.Item(0, "environment", 240),
        check.Item(8, "FSDP2", 240),
    )
    monkeypatch.setattr(check, "ITEMS", chosen)
    monkeypatch.setattr(sys, "argv", ["check.py", "--small", "--out", str(tmp_path)])
    assert check.main() == 1
    lines = [json.loads(line) for line in (tmp_path / "check.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["cut", "crashed", "passed", "passed"], lines
    assert "invalid choice: 99" in lines[1]["failed"][0]
    assert {"torch", "transformers", "gpus"} <= lines[2]["measured"].keys()
    assert lines[3]["measured"]["sharded"] > lines[3]["measured"]["trainable"] > 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_an_unknown_number_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "tests/gpu/check.py", "--out", str(tmp_path), "--only", "3,12"]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "There is no item 12" in done.stderr


def test_the_wheels_are_those_of_the_lock() -> None:
    locked = re.findall(r"^\S+==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    lines = (ROOT / "tests" / "gpu" / "wheels.txt").read_text().splitlines()
    wheels = [line.split(" #")[0] for line in lines if not line.startswith("#")]
    assert [wheel for wheel in wheels if wheel not in locked] == []
