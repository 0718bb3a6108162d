"""The suites that ship with Groove pay their references, and hold nothing that the sample trains on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workers.grading import open_grader
from workers.starter.sample.build import HERE as SAMPLE
from workers.starter.suites import FOLDER, SUITES, BuiltIn
from workers.starter.suites.build import build


def rows(suite: BuiltIn) -> list[dict[str, Any]]:
    return [json.loads(line) for line in suite.path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("key", SUITES)
def test_the_reference_is_paid_in_full_and_another_rows_answer_is_not(key: str) -> None:
    suite = SUITES[key]
    items = [row["item"] for row in rows(suite)]
    answers = [r if isinstance(r := item["reference"], str) else json.dumps(r) for item in items]
    with open_grader(suite.grader) as grade:
        right = grade(list(zip(answers, items, strict=True)))
        wrong = grade([("", item) for item in items])
        mixed = grade(list(zip(answers[1:] + answers[:1], items, strict=True)))
    assert {result.reward for result in right} == {1.0}
    assert {result.reward for result in wrong} == {0.0}
    assert sum(result.reward or 0.0 for result in mixed) < 0.7 * len(items)


def test_the_files_are_what_their_recipe_writes(tmp_path: Path) -> None:
    build(tmp_path)
    for suite in SUITES.values():
        assert (tmp_path / suite.path.name).read_bytes() == suite.path.read_bytes()
        assert suite.file.rows == len(rows(suite)) == 64
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == SUITES.keys()


def test_no_prompt_is_one_of_the_sample_data_set() -> None:
    trained = (SAMPLE / "dataset.jsonl").read_text(encoding="utf-8")
    for suite in SUITES.values():
        prompts = {row["messages"][0]["content"] for row in rows(suite)}
        assert len(prompts) == suite.file.rows
        assert not any(json.dumps(prompt) in trained for prompt in prompts)
