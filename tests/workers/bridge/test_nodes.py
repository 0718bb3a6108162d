"""A worker says what room it has, on a machine where nothing has run yet, too."""

from __future__ import annotations

from workers.bridge.gpus import find_gpus
from workers.bridge.nodes import health


def test_a_fresh_machine_tells_its_room(settings, tmp_path):
    settings.WORK_DIR = tmp_path / "not" / "there"
    told = health()
    assert 0 < told["disk_free_gib"] <= told["disk_gib"]
    assert 0 < told["memory_free_gib"] <= told["memory_gib"]
    assert 0 <= told["cpu_busy_percent"] <= 100
    assert len(told["gpus"]) == len(find_gpus())
