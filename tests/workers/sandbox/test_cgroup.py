"""Where an operator has prepared a control group, a pool is limited as a whole; a useless one is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workers.grading import Limits
from workers.grading.sandbox.cgroup import VARIABLE, Cgroup, CgroupUnusable, new_cgroup


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A plain folder in a group's form: what is written can be read back, nothing is limited."""
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    return tmp_path


def test_a_pool_gets_a_group_of_its_own_with_limits(prepared: Path) -> None:
    group = Cgroup(prepared, Limits(memory_bytes=1 << 30))
    written = {path.name: path.read_text() for path in group.folder.iterdir()}
    assert written == {"memory.max": str(2 << 30), "pids.max": "64", "cpu.max": "200000 100000"}


def test_a_program_joins_its_group_before_it_runs(prepared: Path) -> None:
    group = Cgroup(prepared, Limits())
    program = "import os, sys; print(open(sys.argv[1]).read().strip() == str(os.getpid()))"
    command = group.command([sys.executable, "-c", program, str(group.folder / "cgroup.procs")])
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "True\n"


def test_without_a_prepared_group_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert new_cgroup(Limits()) is None


@pytest.mark.parametrize("controllers", [None, "cpu pids"])
def test_a_group_that_limits_nothing_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controllers: str | None
) -> None:
    if controllers:
        (tmp_path / "cgroup.subtree_control").write_text(controllers)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(CgroupUnusable, match="memory" if controllers else VARIABLE):
        new_cgroup(Limits())
    out = subprocess.run(
        [sys.executable, "-m", "workers.grading", "probe"], check=True, capture_output=True, text=True
    ).stdout
    status = json.loads(out)
    assert not status["available"]
    assert VARIABLE in status["reason"]
