"""A pool of sandboxed processes: many items, state, packages, a dying host, kernels that lack something."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workers.sandbox.test_sandbox import ATTACKS, LIMITS, ROOT, WALLS
from workers.grading import Limits, open_grader, validate
from workers.grading.sandbox import walls
from workers.grading.sandbox.batches import build_request
from workers.grading.sandbox.pool import Sandbox
from workers.grading.source import keeps_state, warm_imports

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
    assert not any(keeps_state(path.read_text()) for path in ROOT.glob("workers/grading/sandboxed/*.py"))


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
        (outcome,) = sandbox.grade([build_request("", {"attack": "none"}, 0)])
    assert (outcome.reward, outcome.error_class) == (None, "python_grader_server_error")


@pytest.mark.parametrize("wall", WALLS)
def test_a_killed_host_leaves_no_process_behind(wall: str, tmp_path: Path) -> None:
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    program = f"""
from workers.grading import Limits
from workers.grading.sandbox.batches import build_request
from workers.grading.sandbox import walls
from workers.grading.sandbox.pool import Sandbox
wall = next(wall for wall in walls.outer_walls() if wall.name == {wall!r})
source = "def grade(s, i):\\n while True:\\n  try:\\n   while True: pass\\n  except BaseException: pass"
with Sandbox(source, Limits(item_seconds=60), walls.Wall(wall.name, wall.prefix, wall.namespaces)) as sandbox:
    sandbox.start()
    print("started", flush=True)
    sandbox.grade([build_request("", {{"marker": {marker!r}}}, 0)])
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
