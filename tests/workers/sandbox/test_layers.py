"""Each layer stops alone what ``docs/sandbox.md`` says it stops alone: all the others are taken away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.workers.sandbox.test_sandbox import ATTACKS, LIMITS, WALLS, aimed, attack
from workers.grading.sandbox import process, walls
from workers.grading.sandbox.pool import Sandbox

READING = [
    "read_etc_passwd",
    "read_a_secret_file",
    "read_the_checkout",
    "read_the_environment_of_another_process",
    "read_its_own_environ_file",
    "list_processes",
]
CONNECTING = ["connect_by_tcp", "connect_to_a_socket_file", "connect_to_an_abstract_socket"]
STARTING = ["run_a_shell", "become_another_program", "spawn_a_program"]
ALONE = {
    "bubblewrap": [*READING, *CONNECTING, *STARTING, "kill_the_host", "kill_another_process"],
    "landlock": [
        *READING,
        *STARTING,
        "read_the_bytes_of_the_interpreter",
        "list_the_root_folder",
        "list_the_home_folder",
        "read_through_a_parent_folder",
    ],
    "seccomp": [
        *CONNECTING,
        *STARTING,
        "send_a_datagram",
        "make_a_socket_pair",
        "talk_to_the_kernel_by_netlink",
        "fork",
        "fork_without_end",
        "vfork_by_hand",
        "clone_by_hand",
        "start_a_thread",
        "start_threads_without_end",
        "kill_the_host",
        "kill_another_process",
        "kill_by_tgkill",
        "aim_descriptor_signals_at_another_process",
        "trace_another_process",
        "read_the_memory_of_another_process",
        "make_a_user_namespace",
        "mount",
        "change_root",
        "load_a_bpf_program",
        "use_kernel_keys",
        "set_up_io_uring",
        "handle_page_faults",
        "watch_performance_counters",
        "use_the_x32_calling_convention",
        "use_the_32_bit_calling_convention",
        "change_its_user",
        "become_privileged_again",
        "raise_its_limits_by_a_pointer_with_an_empty_low_half",
        "make_a_file_in_memory",
        "kill_the_zygote",
    ],
    "rlimits": ["allocate_8_gib", "map_8_gib", "allocate_bit_by_bit"],
}
# In place of jail.lock, after jail.py's own text.
LOCKS = {
    "bubblewrap": "return []",
    "landlock": "_prctl(PR_SET_NO_NEW_PRIVS, 1); restrict_files(readable); return []",
    "seccomp": "_prctl(PR_SET_NO_NEW_PRIVS, 1); filter_calls(MACHINES[platform.machine()]); return []",
    "rlimits": "set_limits(memory_bytes); return []",
}


@contextmanager
def only(layer: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox of one layer."""
    wall = WALLS["bubblewrap"] if layer == "bubblewrap" else walls.INNER_ONLY
    whole = process._build_command

    def weakened(*arguments: Any) -> list[str]:
        command = whole(*arguments)
        place = command.index(process._BOOT) + 1
        command[place] += f"\n\ndef lock(readable, memory_bytes):\n    {LOCKS[layer]}\n"
        return command

    monkeypatch.setattr(process, "_build_command", weakened)
    with Sandbox(ATTACKS, LIMITS, wall) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with aimed(tmp_path_factory.mktemp("targets")) as aims:
        yield aims


@pytest.mark.parametrize("layer", ALONE)
def test_a_layer_stops_alone_what_it_is_said_to_stop(
    layer: str, targets: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with only(layer, monkeypatch) as sandbox:
        through = [name for name in ALONE[layer] if attack(sandbox, name, targets).reward is not None]
    assert through == []


def test_without_any_layer_attacks_do_get_through(
    targets: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above would pass with attacks that cannot work anywhere."""
    harmless = ["read_etc_passwd", "read_a_secret_file", "list_processes", *CONNECTING, "fork", "run_a_shell"]
    with only("rlimits", monkeypatch) as sandbox:
        stopped = [name for name in harmless if attack(sandbox, name, targets).reward is None]
    assert set(stopped) <= {"fork", "run_a_shell"}  # as an ordinary user rlimits stop processes too
