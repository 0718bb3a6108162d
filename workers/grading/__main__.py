"""Graders from a shell.

    python -m workers.grading grade REQUEST.json --out RESULT.json
    python -m workers.grading probe

A request is ``{"grader", "items": [{"output_text", "item"}], "seed"?}``. The result is ``{"results": [...]}``
in the same order, ``{"unavailable": {"reason", "remedy"}}`` or ``{"invalid": {"param", "message"}}``.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workers.grading import GraderInvalid, GradingUnavailable, open_grader, probe, validate


def main() -> None:
    """Parses the command line and runs one of the two commands."""
    parser = argparse.ArgumentParser(prog="python -m workers.grading", description="Grades answers.")
    commands = parser.add_subparsers(dest="command", required=True)
    grade = commands.add_parser("grade", help="grade the answers in a file")
    grade.add_argument("request", type=Path)
    grade.add_argument("--out", type=Path, required=True)
    commands.add_parser("probe", help="try whether Python graders can run here")
    arguments = parser.parse_args()
    if arguments.command == "probe":
        print(json.dumps(asdict(probe())))
    else:
        write_whole(arguments.out, graded(json.loads(arguments.request.read_text())))


def graded(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request."""
    answers = [(answer["output_text"], answer.get("item") or {}) for answer in request["items"]]
    try:
        with open_grader(validate(request["grader"]), seed=request.get("seed", 0)) as grade:
            return {"results": [asdict(result) for result in grade(answers)]}
    except GraderInvalid as error:
        return {"invalid": {"param": error.param, "message": error.message}}
    except GradingUnavailable as error:
        return {"unavailable": {"reason": error.reason, "remedy": error.remedy}}


def write_whole(path: Path, result: dict[str, Any]) -> None:
    """A reader sees the whole result or none."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(result))
    os.replace(partial, path)


if __name__ == "__main__":
    main()
