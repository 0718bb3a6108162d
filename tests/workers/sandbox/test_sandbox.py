"""A grader written to do harm harms nothing, is reported, and spoils no other grading."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from workers.grading import Limits
from workers.grading.sandbox import walls
from workers.grading.sandbox.batches import build_request
from workers.grading.sandbox.pool import Outcome, Sandbox

ROOT = Path(__file__).resolve().parents[3]
ATTACKS = Path(__file__).with_name("sandbox_attacks.py").read_text()
LIMITS = Limits(item_seconds=0.8, grace_seconds=0.4, memory_bytes=256 << 20)
WALLS = {wall.name: wall for wall in walls.outer_walls()}

DENIED = "Error"  # PermissionError, FileNotFoundError, KeyError, ...: the last line of a traceback
TIMEOUT = "took longer than 0.8 seconds"
KILLED = "did not answer in time and was killed"
STOPPED = f"{TIMEOUT}|{KILLED}"

EXPECTED = {
    "read_etc_passwd": DENIED,
    "read_a_secret_file": DENIED,
    "read_the_checkout": DENIED,
    "read_the_bytes_of_the_interpreter": DENIED,
    "list_the_root_folder": DENIED,
    "list_the_home_folder": DENIED,
    "read_through_a_parent_folder": DENIED,
    "read_the_environment": "KeyError",
    "read_its_own_environ_file": DENIED,
    "read_the_environment_of_another_process": DENIED,
    "list_processes": DENIED,
    "connect_by_tcp": "PermissionError",
    "send_a_datagram": "PermissionError",
    "connect_to_a_socket_file": "PermissionError",
    "connect_to_an_abstract_socket": "PermissionError",
    "make_a_socket_pair": "PermissionError",
    "talk_to_the_kernel_by_netlink": "PermissionError",
    "fork": "PermissionError",
    "fork_without_end": STOPPED,
    "vfork_by_hand": "PermissionError",
    "clone_by_hand": "PermissionError",
    "run_a_shell": "PermissionError",
    "become_another_program": DENIED,
    "spawn_a_program": "PermissionError",
    "start_a_thread": "can't start new thread",
    "start_threads_without_end": STOPPED,
    "kill_the_host": "PermissionError",
    "kill_another_process": "PermissionError",
    "kill_its_process_group": "PermissionError",
    "kill_everything": "PermissionError",
    "kill_by_tgkill": "PermissionError",
    "aim_descriptor_signals_at_another_process": "PermissionError",
    "trace_another_process": "PermissionError",
    "read_the_memory_of_another_process": "PermissionError",
    "make_a_user_namespace": "PermissionError",
    "mount": "PermissionError",
    "change_root": "PermissionError",
    "load_a_bpf_program": "PermissionError",
    "use_kernel_keys": "PermissionError",
    "set_up_io_uring": "PermissionError",
    "handle_page_faults": "PermissionError",
    "watch_performance_counters": "PermissionError",
    "use_the_x32_calling_convention": "PermissionError",
    "use_the_32_bit_calling_convention": "signal SIG",
    "change_its_user": "PermissionError",
    "become_privileged_again": "PermissionError",
    "raise_its_limits": "Error",
    "raise_its_limits_by_a_pointer_with_an_empty_low_half": "PermissionError",
    "write_in_the_working_folder": DENIED,
    "write_beside_the_secret": DENIED,
    "overwrite_the_secret": DENIED,
    "truncate_the_secret": DENIED,
    "delete_the_secret": "PermissionError",
    "open_the_secret_to_all": "PermissionError",
    "rename_the_secret": "PermissionError",
    "touch_the_secret": "PermissionError",
    "link_to_the_secret": "PermissionError",
    "change_a_module_for_the_next_grader": DENIED,
    "fill_the_disk": DENIED,
    "fill_shared_memory": DENIED,
    "make_a_file_in_memory": "PermissionError",
    "allocate_8_gib": "MemoryError",
    "map_8_gib": "Cannot allocate memory",
    "allocate_bit_by_bit": "Cannot allocate memory",
    "loop_forever": TIMEOUT,
    "sleep_forever": TIMEOUT,
    "loop_and_swallow_the_timeout": KILLED,
    "loop_with_the_timer_stopped": KILLED,
    "loop_inside_the_regex_engine": KILLED,
    "print_a_gigabyte": "printed more than 1048576 characters",
    "print_a_gigabyte_and_swallow": "SystemExit: done",
    "recurse_without_end": "RecursionError",
    "overflow_the_stack": "signal SIGSEGV",
    "claim_a_reply_of_4_gb": "a reply of 4000000000 bytes",
    "send_a_reply_that_is_not_json": "not JSON",
    "send_a_reply_nested_without_end": "not JSON",
    "send_a_reward_that_is_nan": "no finite number",
    "send_a_reward_that_is_text": "no finite number",
    "send_half_a_reply": KILLED,
    "close_every_descriptor": "ended",
    "crash": "signal SIGSEGV",
    "leave_at_once": "exit status 0",
    "leave": "SystemExit: 3",
    "abort": "signal SIGABRT",
    "raise_what_cannot_be_shown": KILLED,
    "raise_with_a_huge_message": "",
    "return_a_pickle": "must return a number, it returned Pickled",
    "return_pickled_bytes": "must return a number, it returned bytes",
    "return_nan": "must return a finite number",
    "return_infinity": "must return a finite number",
    "return_an_integer_too_large_for_a_float": "OverflowError",
    "return_a_huge_string": "must return a number, it returned str",
    "return_a_float_that_lies": "TypeError",
    "return_a_value_nested_without_end": "must return a number, it returned list",
    "read_through_a_symbolic_link": "PermissionError|FileNotFoundError",
    "read_through_its_descriptors": f"{DENIED}|{STOPPED}",  # without an outer wall its own pipe, which waits
    "find_a_socket_to_the_zygote": "no socket",
    "find_pipes_of_others": "no pipe of anybody else",
    "kill_the_zygote": "PermissionError",
    "import_what_belongs_to_groove": "ModuleNotFoundError",
    "import_what_groove_depends_on": "ModuleNotFoundError",
    "find_groove_among_the_modules": "nothing of Groove",
    "read_the_command_line": DENIED,
    "read_the_memory_of_the_zygote": DENIED,
}


@contextmanager
def aimed(folder: Path) -> Iterator[dict[str, Any]]:
    """What the attacks aim at: a server, a secret and a process, all real."""
    folder.chmod(0o777)
    secret, socket_file = folder / "secret", folder / "socket"
    secret.write_text("TOPSECRET")
    secret.chmod(0o666)
    victim = subprocess.Popen(["sleep", "600"], env={"SECRET": "TOPSECRET"})
    abstract = f"groove-{os.getpid()}"
    os.environ["GROOVE_SECRET"] = "TOPSECRET"
    with (
        victim,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as by_file,
        socket.socket(socket.AF_UNIX) as by_name,
    ):
        by_file.bind(str(socket_file))
        by_name.bind(f"\0{abstract}")
        for server in (by_file, by_name):
            server.listen()
        try:
            yield {
                "port": tcp.getsockname()[1],
                "socket_file": str(socket_file),
                "abstract_socket": abstract,
                "secret": str(secret),
                "victim": victim.pid,
                "host": os.getpid(),
                "checkout": str(ROOT),
                "home": os.environ.get("HOME", "/root"),
            }
            assert victim.poll() is None, "the victim was killed"
        finally:
            victim.kill()
            del os.environ["GROOVE_SECRET"]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with aimed(tmp_path_factory.mktemp("targets")) as aims:
        yield aims


@pytest.fixture(scope="module", params=["bubblewrap", "no outer wall"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(ATTACKS, LIMITS, WALLS[request.param]) as opened:
        yield opened


def attack(sandbox: Sandbox, name: str, targets: dict[str, Any]) -> Outcome:
    """The attack's outcome, between two harmless gradings that must be untouched by it."""
    items = [{"attack": "none"}, targets | {"attack": name}, {"attack": "none"}]
    before, outcome, after = sandbox.grade([build_request("", item, 0) for item in items])
    assert before.reward == after.reward == 0.5
    return outcome


@pytest.mark.parametrize("name", EXPECTED)
def test_an_attack_is_a_grader_error_and_harms_nothing(
    sandbox: Sandbox, targets: dict[str, Any], name: str
) -> None:
    secret = Path(targets["secret"])
    before = secret.stat()
    outcome = attack(sandbox, name, targets)
    assert outcome.reward is None, f"escaped: {name}"
    assert outcome.error_class == "python_grader_runtime_error"
    assert re.search(EXPECTED[name], outcome.detail or "")
    assert secret.read_text() == "TOPSECRET"
    assert (secret.stat().st_mode, secret.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert sorted(path.name for path in secret.parent.iterdir()) == ["secret", "socket"]


def test_every_attack_is_tried() -> None:
    written = set(re.findall(r"^def ([a-z]\w+)\(item\)", ATTACKS, re.MULTILINE))
    assert written == EXPECTED.keys()


@pytest.mark.parametrize(
    "name",
    [
        "read_etc_passwd",
        "read_the_environment",
        "connect_by_tcp",
        "fork_without_end",
        "allocate_8_gib",
        "loop_forever",
        "print_a_gigabyte",
        "list_processes",
        "kill_the_host",
    ],
)
def test_plain_namespaces_are_an_outer_wall_too(targets: dict[str, Any], name: str) -> None:
    with Sandbox(ATTACKS, LIMITS, walls.OWN_NAMESPACES) as sandbox:
        assert "namespaces" in sandbox.start()
        assert attack(sandbox, name, targets).error_class == "python_grader_runtime_error"


def test_inside_bubblewrap_the_checkout_does_not_even_exist(targets: dict[str, Any]) -> None:
    source = """
import os
def grade(sample, item):
    print([name for name in item["paths"] if os.path.exists(name)], sorted(os.environ))
    return os.getuid()
"""
    paths = [
        f"{ROOT}/pyproject.toml",
        f"{ROOT}/var",
        "/etc/passwd",
        "/root/.ssh",
        "/proc",
        targets["secret"],
    ]
    with Sandbox(source, LIMITS, WALLS["bubblewrap"]) as sandbox:
        (outcome,) = sandbox.grade([build_request("", {"paths": paths}, 0)])
    assert outcome.reward == 65534
    assert outcome.stdout.startswith("[] ")
    assert set(re.findall(r"\w+", outcome.stdout)) <= {*walls.ENVIRONMENT, "LC_CTYPE", "PWD"}
