"""A worker measures space and load, also on a machine where nothing has run yet."""

from __future__ import annotations

from workers.bridge.gpus import find_gpus
from workers.bridge.nodes import read_health


def test_a_fresh_machine_has_health(settings, tmp_path):
    settings.WORK_DIR = tmp_path / "not" / "there"
    health = read_health()
    assert 0 < health["disk_free_gib"] <= health["disk_gib"]
    assert 0 < health["memory_free_gib"] <= health["memory_gib"]
    assert 0 <= health["cpu_busy_percent"] <= 100
    assert len(health["gpus"]) == len(find_gpus())
