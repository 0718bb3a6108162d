"""Checks of the engine on one GPU: ``python tests/gpu/check.py --out FOLDER [--only 3,4] [--small]``.

Every item runs in a process of its own, under a time limit of its own, the most telling first. One that fails
or is cut does not stop the next. ``FOLDER/check.jsonl`` gets one line an item. Only the standard library
is imported: a machine on which torch cannot be imported still gets its lines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LAST_WORDS = 600  # characters of an item's error output that are kept


@dataclass(frozen=True)
class Item:
    """One check. ``limit`` is in seconds, imports included."""

    number: int
    name: str
    limit: float


ITEMS = (
    Item(0, "environment", 30),
    Item(1, "passes", 45),
    Item(6, "whole job", 50),
    Item(3, "sampling", 100),
    Item(4, "GRPO step", 150),
    Item(7, "stop and resume", 45),
    Item(5, "out of memory", 20),
    Item(2, "LoRA layer", 15),
    Item(8, "FSDP2", 20),
)


def main() -> int:
    """Run the items; 0 if all passed."""
    parser = argparse.ArgumentParser(prog="tests/gpu/check.py", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for check.jsonl and the items' files")
    parser.add_argument("--only", default="", help="numbers of items, with commas between them")
    parser.add_argument("--small", action="store_true", help="tiny models on the CPU: figures mean nothing")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies every time limit")
    told = parser.parse_args()
    wanted = {int(number) for number in told.only.split(",") if number}
    unknown = wanted - {item.number for item in ITEMS}
    if unknown:
        parser.error(
            f"There is no item {min(unknown)}. Choose from 0 to {max(item.number for item in ITEMS)}."
        )
    out: Path = told.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    passed = True
    for item in ITEMS:
        if not wanted or item.number in wanted:
            result = run_item(item, out, told.small, told.patience)
            passed &= result["outcome"] == "passed"
            print(summary(result), flush=True)
            with (out / "check.jsonl").open("a") as file:
                file.write(json.dumps(result) + "\n")
    return 0 if passed else 1


def run_item(item: Item, out: Path, small: bool, patience: float) -> dict[str, Any]:
    """Run one item in its own process and return its line: outcome, seconds, measurements, what failed."""
    folder = out / f"item-{item.number}"
    folder.mkdir(exist_ok=True)
    report, errors = folder / "report.jsonl", folder / "stderr.txt"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.gpu.items", str(item.number), "--out", str(folder)]
    began = time.monotonic()
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [*command, *(["--small"] if small else [])],
            cwd=ROOT,
            env=environment(),
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(item.limit * patience)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_group(process)
    return judge(item, status, time.monotonic() - began, report, errors)


def environment() -> dict[str, str]:
    """The environment of items: nothing is downloaded, and this checkout comes before what is installed."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {
        "PYTHONPATH": path,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End an item's process and every engine that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def judge(item: Item, status: int | None, seconds: float, report: Path, errors: Path) -> dict[str, Any]:
    """Turn what an item wrote and how it ended into its line."""
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    measured: dict[str, Any] = {}
    for line in lines:
        measured |= line.get("measured", {})
    failed = [line["failed"] for line in lines if "failed" in line]
    if status is None:
        outcome = "cut"
        failed.append(f"It took more than {item.limit:g} s.")
    elif status:
        outcome = "crashed"
        failed.append(errors.read_text()[-LAST_WORDS:].strip() or f"It ended with status {status}.")
    else:
        outcome = "failed" if failed else "passed"
    return {
        "item": item.number,
        "name": item.name,
        "outcome": outcome,
        "seconds": round(seconds, 1),
        "measured": measured,
        "failed": failed,
    }


def summary(result: dict[str, Any]) -> str:
    """One line for the terminal."""
    told = "; ".join(result["failed"]) or ", ".join(f"{k} {v}" for k, v in result["measured"].items())
    line = f"{result['item']} {result['name']}: {result['outcome']} in {result['seconds']} s. {told}"
    return " ".join(line.split())[:900]


if __name__ == "__main__":
    sys.exit(main())
