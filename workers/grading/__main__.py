"""Graders from a shell.

    python -m workers.grading grade REQUEST.json --out RESULT.json [--keys-fd FD]
    python -m workers.grading probe

A request is ``{"grader", "items": [{"output_text", "item", "group"?}], "seed"?, "judges"?, "cache"?}``:
``judges`` says where each model that the grader names answers (``workers.spec.JudgeEndpoint``), ``cache`` is
a folder for their verdicts, and their keys are read from ``--keys-fd``, a JSON object by model. The result is
``{"results": [...]}`` in the same order, ``{"unavailable": {"reason", "remedy"}}`` or
``{"invalid": {"param", "message"}}``.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workers.grading import GraderInvalid, GradingUnavailable, Judges, open_grader, probe, validate
from workers.grading.judge import read_keys
from workers.spec import JudgeEndpoint


def main() -> None:
    """Parses the command line and runs one of the two commands."""
    parser = argparse.ArgumentParser(prog="python -m workers.grading", description="Grades answers.")
    commands = parser.add_subparsers(dest="command", required=True)
    grade = commands.add_parser("grade", help="grade the answers in a file")
    grade.add_argument("request", type=Path)
    grade.add_argument("--out", type=Path, required=True)
    grade.add_argument("--keys-fd", type=int, help="file descriptor with the judges' keys, a JSON object")
    commands.add_parser("probe", help="try whether Python graders can run here")
    arguments = parser.parse_args()
    if arguments.command == "probe":
        print(json.dumps(asdict(probe())))
    else:
        keys = read_keys(arguments.keys_fd)
        write_whole(arguments.out, graded(json.loads(arguments.request.read_text()), keys))


def graded(request: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    """The answer to one request."""
    items = request["items"]
    answers = [(answer["output_text"], answer.get("item") or {}) for answer in items]
    groups = [str(answer.get("group", place)) for place, answer in enumerate(items)]
    try:
        with open_grader(
            validate(request["grader"]), seed=request.get("seed", 0), judges=judges_of(request, keys)
        ) as grade:
            return {"results": [asdict(result) for result in grade(answers, groups)]}
    except GraderInvalid as error:
        return {"invalid": {"param": error.param, "message": error.message}}
    except GradingUnavailable as error:
        return {"unavailable": {"reason": error.reason, "remedy": error.remedy}}


def judges_of(request: dict[str, Any], keys: dict[str, str]) -> Judges:
    """Where the request's judges answer."""
    endpoints = {
        model: JudgeEndpoint.model_validate(given) for model, given in request.get("judges", {}).items()
    }
    return Judges(endpoints, keys, Path(request["cache"]) if request.get("cache") else None)


def write_whole(path: Path, result: dict[str, Any]) -> None:
    """A reader sees the whole result or none."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(result))
    os.replace(partial, path)


if __name__ == "__main__":
    main()
