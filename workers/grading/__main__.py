"""Graders from a shell.

    python -m workers.grading grade REQUEST.json --out RESULT.json [--keys-fd FD] [--judge-cache DIR]
    python -m workers.grading probe

A request is ``{"grader", "items": [{"output_text", "item", "group"?}], "seed"?, "judges"?}``; ``judges`` says
where each model that the grader names answers (``contract.spec.JudgeEndpoint``). Their keys come through
``--keys-fd``, a JSON object by model; ``--judge-cache`` keeps their verdicts. The result is
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

from workers.contract.spec import JudgeEndpoint
from workers.grading import GraderInvalid, GradingUnavailable, Judges, open_grader, probe, validate
from workers.grading.judge import read_keys


def main() -> None:
    """Parse the command line and run one of the two commands."""
    parser = argparse.ArgumentParser(prog="python -m workers.grading", description="Grades answers.")
    commands = parser.add_subparsers(dest="command", required=True)
    grade = commands.add_parser("grade", help="grade the answers in a file")
    grade.add_argument("request", type=Path)
    grade.add_argument("--out", type=Path, required=True)
    grade.add_argument("--keys-fd", type=int, help="file descriptor with the judges' keys, a JSON object")
    grade.add_argument("--judge-cache", type=Path, help="folder that keeps judges' verdicts")
    commands.add_parser("probe", help="try whether Python graders can run here")
    arguments = parser.parse_args()
    if arguments.command == "probe":
        print(json.dumps(asdict(probe())))
    else:
        request = json.loads(arguments.request.read_text())
        endpoints = {
            model: JudgeEndpoint.model_validate(given) for model, given in request.get("judges", {}).items()
        }
        judges = Judges(endpoints, read_keys(arguments.keys_fd), arguments.judge_cache)
        write_whole(arguments.out, grade_request(request, judges))


def grade_request(request: Any, judges: Judges) -> dict[str, object]:
    """Return the results of one request, or why it cannot be graded."""
    items = request["items"]
    answers = [(answer["output_text"], answer.get("item") or {}) for answer in items]
    groups = [str(answer.get("group", index)) for index, answer in enumerate(items)]
    try:
        with open_grader(validate(request["grader"]), seed=request.get("seed", 0), judges=judges) as grade:
            return {"results": [asdict(result) for result in grade(answers, groups)]}
    except GraderInvalid as error:
        return {"invalid": {"param": error.param, "message": error.message}}
    except GradingUnavailable as error:
        return {"unavailable": {"reason": error.reason, "remedy": error.remedy}}


def write_whole(path: Path, result: dict[str, object]) -> None:
    """Write the file so that a reader sees the whole result or none."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(result))
    os.replace(partial, path)


if __name__ == "__main__":
    main()
