"""A grader written to do harm harms nothing, is reported, and spoils no other grading."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from workers.grading import Limits, open_grader, validate
from workers.grading.python import request
from workers.grading.sandbox import walls
from workers.grading.sandbox.pool import Outcome, Sandbox
from workers.grading.source import keeps_state, warm_imports

ROOT = Path(__file__).resolve().parents[2]
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
    before, outcome, after = sandbox.grade([request("", item, 0) for item in items])
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
        (outcome,) = sandbox.grade([request("", {"paths": paths}, 0)])
    assert outcome.reward == 65534
    assert outcome.stdout.startswith("[] ")
    assert set(re.findall(r"\w+", outcome.stdout)) <= {*walls.ENVIRONMENT, "LC_CTYPE", "PWD"}


# --- many items ------------------------------------------------------------------------------------

MIXED = """
import os, time
def grade(sample, item):
    if item["n"] % 50 == 7:
        os._exit(1)
    if item["n"] == 100:
        time.sleep(60)
    if item["n"] == 120:
        raise ValueError("n is 120")
    return item["n"]
"""


def test_results_keep_their_order_and_a_death_costs_only_its_own_item() -> None:
    with open_grader(validate({"type": "python", "source": MIXED}), limits=LIMITS) as grade:
        results = grade([("", {"n": n}) for n in range(200)])
        again = grade([("", {"n": 3})])
    failed = {n: result for n, result in enumerate(results) if result.reward is None}
    assert list(failed) == [7, 57, 100, 107, 120, 157]
    assert all(result.error_class == "python_grader_runtime_error" for result in failed.values())
    assert [r.reward for n, r in enumerate(results) if n not in failed] == [
        float(n) for n in range(200) if n not in failed
    ]
    assert again[0].reward == 3


DICE = """
import random
import numpy
def grade(sample, item):
    words = {"a", "b", "c", "d", "e"}
    print(random.random(), numpy.random.rand(), hash(sample["output_text"]), list(words))
    return random.random()
"""


def test_an_answer_is_graded_alike_wherever_it_stands() -> None:
    grader = validate({"type": "python", "source": DICE})
    answers = [("one", {"n": 1}), ("two", {"n": 2}), ("one", {"n": 1})]
    with open_grader(grader, seed=7) as grade:
        first = [(r.reward, r.stdout) for r in grade(answers)]
    with open_grader(grader, seed=7) as grade:
        second = [(r.reward, r.stdout) for r in grade(answers[::-1])]
    with open_grader(grader, seed=8) as grade:
        other = grade(answers)[0]
    assert first == second
    assert first[0] == first[2] != first[1]
    assert other.reward != first[0][0]


def test_what_a_grader_needs_to_compute_works() -> None:
    source = """
import collections, dataclasses, datetime, decimal, difflib, json, math, re, statistics, string, unicodedata
import numpy, rapidfuzz, sympy

@dataclasses.dataclass
class Point:
    x: "float"

def grade(sample, item):
    matrix = numpy.random.normal(size=(64, 64))
    assert numpy.linalg.inv(matrix).shape == (64, 64)
    x = sympy.Symbol("x")
    assert sympy.expand((x + 1) ** 2) == x**2 + 2 * x + 1
    return rapidfuzz.fuzz.ratio("abcd", "abce") / 100 + Point(0.25).x
"""
    with open_grader(validate({"type": "python", "source": source}), limits=Limits(item_seconds=20)) as grade:
        (result,) = grade([("", {})])
    assert result.error_detail is None
    assert result.reward == 1.0


BOMB = """
import os, signal, struct

def explode(*_):
    for pipe in range(3, 64):
        try:
            os.write(pipe, struct.pack("<I", 9) + b"[9.0,0.0]")
        except OSError:
            pass

def grade(sample, item):
    if item["n"] == 1:
        signal.signal(signal.SIGVTALRM, explode)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.002, 0.002)
        return 1.0
    return 0.5
"""


def test_a_time_bomb_behind_a_result_is_the_graders_own_affair_and_no_other_graders() -> None:
    bomb = validate({"type": "python", "source": BOMB})
    honest = validate({"type": "python", "source": "def grade(sample, item): return 0.25"})
    with open_grader(bomb, limits=LIMITS) as hostile, open_grader(honest, limits=LIMITS) as grade:
        first = hostile([("", {"n": n}) for n in range(200)])
        beside = grade([("", {"n": n}) for n in range(200)])
        again = hostile([("", {"n": 2})])
    assert {result.reward for result in beside} == {0.25}
    assert {result.reward for result in [*first, *again]} <= {0.5, 1.0, 9.0, None}
    assert len(first) == 200


STATEFUL = """
seen = []
count = 0

def grade(sample, item):
    global count
    count += 1
    seen.append(item["n"])
    return count + len(seen)
"""


def test_a_grader_that_keeps_state_meets_every_item_in_a_fresh_process() -> None:
    with open_grader(validate({"type": "python", "source": STATEFUL}), limits=LIMITS) as grade:
        results = grade([("", {"n": n}) for n in range(20)])
    assert {result.reward for result in results} == {2.0}


CLOSURE = """
def make():
    n = 0
    def grade(sample, item):
        nonlocal n
        n += 1
        return n
    return grade

grade = make()
"""
OBJECT = """
class Counter:
    def __init__(self):
        self.n = 0

    def up(self):
        self.n += 1
        return self.n

counter = Counter()

def grade(sample, item):
    return counter.up()
"""


@pytest.mark.parametrize(
    ("source", "keeps"),
    [
        ("LIMIT = {'a': 1}\ndef grade(s, i): return LIMIT['a']", False),
        ("def grade(s, i):\n    seen = []\n    seen.append(1)\n    return 1", False),
        (
            "import re\nWORD = re.compile('a')\ndef grade(s, i): return bool(WORD.match(s['output_text']))",
            False,
        ),
        ("seen = set()\ndef grade(s, i):\n    seen.add(1)\n    return len(seen)", True),
        ("n = 0\ndef grade(s, i):\n    global n\n    n += 1\n    return n", True),
        ("def grade(s, i, seen=[]):\n    seen.append(1)\n    return len(seen)", True),
        ("def grade(s, i):\n    grade.n = getattr(grade, 'n', 0) + 1\n    return grade.n", True),
        ("cache = {}\ndef grade(s, i):\n    cache[i['n']] = 1\n    return len(cache)", True),
        ("import itertools\nc = itertools.count()\ndef grade(s, i): return next(c)", True),
        (CLOSURE, True),
        (OBJECT, True),
        ("class A:\n    n = 0\ndef grade(s, i):\n    A.n += 1\n    return A.n", True),
    ],
)
def test_state_is_seen_in_the_source(source: str, keeps: bool) -> None:
    assert keeps_state(source) == keeps


def test_any_source_that_python_reads_can_be_looked_through() -> None:
    """Lambdas, conditional expressions, classes in classes: all of this project's own files hold some."""
    paths = [*ROOT.glob("workers/**/*.py"), *ROOT.glob("webapp/**/*.py"), *ROOT.glob("tests/**/*.py")]
    assert len(paths) > 100
    for path in paths:
        keeps_state(path.read_text())
        warm_imports(path.read_text())
    assert not any(keeps_state(path.read_text()) for path in ROOT.glob("workers/grading/boxed/*.py"))


def test_only_modules_without_consequences_are_imported_beforehand() -> None:
    top = "import numpy.linalg, antigravity, os\nfrom rapidfuzz import fuzz\n"
    source = top + "def grade(s, i):\n    import json, scipy"
    assert warm_imports(source) == ["numpy", "rapidfuzz", "scipy"]


def test_a_grader_sees_its_own_packages_and_none_of_grooves() -> None:
    source = (
        "import importlib.util, sys\ndef grade(s, i):\n    return bool(importlib.util.find_spec(i['name']))"
    )
    names = ["numpy", "sympy", "pandas", "rapidfuzz", "sklearn", "nltk", "yaml", "deepdiff", "jsonschema"]
    ours = ["django", "torch", "celery", "workers", "webapp", "psycopg"]
    with open_grader(validate({"type": "python", "source": source})) as grade:
        results = grade([("", {"name": name}) for name in names + ours])
    assert [result.reward for result in results] == [1.0] * len(names) + [0.0] * len(ours)


# --- the host --------------------------------------------------------------------------------------


def test_a_source_that_does_not_load_fails_every_item_with_its_own_line() -> None:
    source = "def grade(sample, item):\n    return 1\n\nprint('loading')\n1 / 0\n"
    with open_grader(validate({"type": "python", "source": source})) as grade:
        results = grade([("", {}), ("", {})])
    for result in results:
        assert (result.reward, result.error_class) == (None, "python_grader_runtime_error")
        assert "line 5" in (result.error_detail or "")
        assert "ZeroDivisionError" in (result.error_detail or "")


def test_a_source_that_hangs_while_loading_is_stopped() -> None:
    with open_grader(
        validate({"type": "python", "source": "while True: pass\ndef grade(s, i): return 1"}),
        limits=Limits(load_seconds=0.5),
    ) as grade:
        (result,) = grade([("", {})])
    assert "loading the source took longer than 0.5 seconds" in (result.error_detail or "")


def test_text_that_no_database_takes_is_mended() -> None:
    source = "def grade(s, i):\n    print('a\\0b\\ud800c')\n    raise ValueError('\\0\\ud800')"
    with open_grader(validate({"type": "python", "source": source})) as grade:
        (result,) = grade([("\ud800", {})])
    for text in (result.stdout, result.error_detail or ""):
        text.encode()
        assert "\0" not in text


def test_a_sandbox_that_cannot_start_is_the_servers_fault() -> None:
    with Sandbox(ATTACKS, LIMITS, walls.Wall("none", ("/nowhere/bwrap",))) as sandbox:
        (outcome,) = sandbox.grade([request("", {"attack": "none"}, 0)])
    assert (outcome.reward, outcome.error_class) == (None, "python_grader_server_error")


@pytest.mark.parametrize("wall", WALLS)
def test_a_killed_host_leaves_no_process_behind(wall: str, tmp_path: Path) -> None:
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    program = f"""
from workers.grading import Limits
from workers.grading.python import request
from workers.grading.sandbox import walls
from workers.grading.sandbox.pool import Sandbox
wall = next(wall for wall in walls.outer_walls() if wall.name == {wall!r})
source = "def grade(s, i):\\n while True:\\n  try:\\n   while True: pass\\n  except BaseException: pass"
with Sandbox(source, Limits(item_seconds=60), walls.Wall(wall.name, wall.prefix, wall.namespaces)) as sandbox:
    sandbox.start()
    print("started", flush=True)
    sandbox.grade([request("", {{"marker": {marker!r}}}, 0)])
"""
    host = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert host.stdout is not None
    assert host.stdout.readline() == b"started\n"
    family = descendants(host.pid)
    assert family
    time.sleep(0.3)
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdout.close()
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in family)


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``, from /proc."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, open_ends = [], [pid]
    while open_ends:
        below = children.get(open_ends.pop(), [])
        found += below
        open_ends += below
    return found


def alive(pid: int) -> bool:
    """Runs, or is at least no zombie that only waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- kernels that lack something -------------------------------------------------------------------

# Runs the probe where a system call has the given answer, as on a kernel or in a container without it.
POORER_KERNEL = """
import platform, sys
from workers.grading.__main__ import main
from workers.grading.sandbox import jail
machine = jail.MACHINES[platform.machine()]
what = sys.argv.pop(1)
code = [jail._load(jail.OFFSET_NUMBER)]
if what == "landlock":
    code += jail._answer(jail.LANDLOCK_CREATE_RULESET, jail.RETURN_ENOSYS)
elif what == "seccomp":
    code += jail._answer(machine.seccomp, jail.RETURN_ENOSYS)
else:
    unshare, clone = {"x86_64": (272, 56), "aarch64": (97, 220)}[platform.machine()]
    code += jail._answer(unshare, jail.RETURN_EPERM)
    code += jail._answer(jail.CLONE3, jail.RETURN_ENOSYS)
    JUMP_IF_ANY_BIT, CLONE_NEWUSER = 0x45, 0x10000000
    refuse = [jail._load(jail.OFFSET_ARGUMENTS), jail._jump(JUMP_IF_ANY_BIT, CLONE_NEWUSER, 0, 1)]
    refuse += [jail._return(jail.RETURN_EPERM), jail._return(jail.RETURN_ALLOW)]
    code += [jail._jump(jail.JUMP_EQUAL, clone, 0, len(refuse)), *refuse]
code += [jail._return(jail.RETURN_ALLOW)]
jail._prctl(jail.PR_SET_NO_NEW_PRIVS, 1)
jail.install(machine, code)
main()
"""


def on_a_kernel_without(what: str, *arguments: str) -> str:
    command = [sys.executable, "-c", POORER_KERNEL, what, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("what", ["landlock", "seccomp"])
def test_without_the_inner_wall_python_is_refused_with_reason_and_remedy(what: str, tmp_path: Path) -> None:
    status = json.loads(on_a_kernel_without(what, "probe"))
    assert not status["available"]
    assert what in status["reason"].lower()
    assert status["remedy"]
    request, result = tmp_path / "request.json", tmp_path / "result.json"
    grader = {"type": "python", "source": "def grade(sample, item): return 1"}
    request.write_text(json.dumps({"grader": grader, "items": [{"output_text": "", "item": {}}]}))
    on_a_kernel_without(what, "grade", str(request), "--out", str(result))
    unavailable = json.loads(result.read_text())["unavailable"]
    assert unavailable == {"reason": status["reason"], "remedy": status["remedy"]}


def test_without_user_namespaces_the_inner_wall_stands_alone_and_the_status_says_so() -> None:
    status = json.loads(on_a_kernel_without("namespaces", "probe"))
    assert status["available"]
    assert "bubblewrap" not in status["layers"]
    assert "seccomp" in status["layers"]
    assert "no outer wall" in status["reason"]
    assert status["remedy"]


def test_here_both_walls_stand() -> None:
    command = [sys.executable, "-m", "workers.grading", "probe"]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    status = json.loads(out)
    assert status["available"]
    assert status["layers"][0] == "bubblewrap"
    assert status["reason"] == status["remedy"] == ""
