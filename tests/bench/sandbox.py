"""Cost of the sandbox: graded rollouts per second, compared with a direct call of the function.

In-process means the same batch with the same samples made, dice thrown, time limit kept and prints caught,
by the very ``Runner`` that works inside the sandbox; only walls, pipes and the host's checks are missing.
``sandbox_overhead`` is stricter: nothing but the bare function is called.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from tests.bench.result import Result
from tests.bench.scale import sized
from workers.grading import Limits, open_grader, validate
from workers.grading.sample import sample_fields
from workers.grading.sandbox import open_sandbox
from workers.grading.sandbox.batches import build_request
from workers.grading.sandbox.worker import Runner

BATCH, ITEMS, RUNS = sized((64, 12_800, 5), (64, 640, 1))
LIMITS = Limits()
TRIVIAL = """
def grade(sample, item):
    return 1.0 if sample["output_text"] == item["answer"] else 0.0
"""
REAL = """
import json
from rapidfuzz import fuzz

def grade(sample, item):
    wanted = item["reference"]
    try:
        given = json.loads(sample["output_text"])
    except ValueError:
        return 0.0
    right = sum(given.get(name) == wanted[name] for name in ("vendor", "total", "date"))
    return right / 4 + fuzz.ratio(given.get("note", ""), wanted["note"]) / 400
"""
REFERENCE = {"vendor": "Acme", "total": 12.5, "date": "2026-01-02", "note": "two boxes of pears"}
Answers = list[tuple[str, dict[str, Any]]]


def trivial_answers() -> Answers:
    return [(f"answer {n}", {"answer": f"answer {n % 7}"}) for n in range(ITEMS)]


def real_answers() -> Answers:
    return [
        (json.dumps(REFERENCE | {"note": f"two boxes {n}"}), {"reference": REFERENCE}) for n in range(ITEMS)
    ]


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def sandboxed(source: str, answers: Answers) -> list[float]:
    """Seconds of each run through the public door, in batches, the sandbox warm."""
    with open_grader(validate({"type": "python", "source": source})) as grade:

        def batches() -> None:
            for start in range(0, len(answers), BATCH):
                grade(answers[start : start + BATCH])

        grade(answers[: 8 * BATCH])
        return [seconds_of(batches) for _ in range(RUNS)]


def in_process(source: str, answers: Answers) -> list[float]:
    """Seconds of each run by the sandbox's own runner, in this process."""
    runner = Runner(vars(LIMITS), sample_fields)
    runner.load(source)

    def every() -> None:
        for text, item in answers:
            asked = build_request(text, item, 0)
            told_text, told_item = json.loads(asked.content + "]")
            runner.grade(told_text, told_item, asked.seed)

    try:
        return [seconds_of(every) for _ in range(RUNS)]
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def bare(source: str, answers: Answers) -> list[float]:
    """Seconds of each run of the function alone, on samples made before."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    samples = [sample_fields(text) for text, _ in answers]
    grade = namespace["grade"]

    def every() -> None:
        for sample, (_, item) in zip(samples, answers, strict=True):
            grade(sample, item)

    return [seconds_of(every) for _ in range(RUNS)]


def throughput() -> Result:
    runs = [ITEMS / seconds for seconds in sandboxed(TRIVIAL, trivial_answers())]
    return Result(
        benchmark="sandbox_throughput",
        value=round(median(runs)),
        unit=f"graded rollouts a second, batches of {BATCH}",
        goal=10_000,
        runs=[round(run) for run in runs],
        note="a trivial grader through open_grader",
        at_least=True,
    )


def overhead() -> Result:
    answers = trivial_answers()
    inside, outside = sandboxed(TRIVIAL, answers), bare(TRIVIAL, answers)
    runs = [(a - b) / ITEMS * 1e6 for a, b in zip(inside, outside, strict=True)]
    return Result(
        benchmark="sandbox_overhead",
        value=round(median(runs), 1),
        unit="microseconds an item beyond the bare function",
        goal=100,
        runs=[round(run, 1) for run in runs],
        note=f"a trivial grader, batches of {BATCH}",
    )


def real_ratio() -> Result:
    answers = real_answers()
    pairs = list(zip(in_process(REAL, answers), sandboxed(REAL, answers), strict=True))
    return Result(
        benchmark="sandbox_real_ratio",
        value=round(median(a for a, _ in pairs) / median(b for _, b in pairs), 3),
        unit="throughput in the sandbox / in-process",
        goal=0.7,
        runs=[round(a / b, 3) for a, b in pairs],
        note="JSON, three fields and one rapidfuzz",
        at_least=True,
    )


def start() -> Result:
    """The wall is found and proven once a process, which counts apart."""

    def once() -> float:
        with open_sandbox(TRIVIAL, LIMITS) as sandbox:
            return seconds_of(sandbox.start)

    runs = [1000 * once() for _ in range(RUNS)]
    return Result(
        benchmark="sandbox_start",
        value=round(median(runs)),
        unit="ms until the pool's first process is locked in",
        goal=300,
        runs=[round(run) for run in runs],
        note="a fresh zygote each time",
    )
