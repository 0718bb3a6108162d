"""``math``: which final answer is read out of a text, and what is equal to the reference.

``cases/mathematics.jsonl`` holds (text, reference, reward); many stem from public reports about such
verifiers: Math-Verify, the graders of MATH and Qwen2.5-Math, and of GSM8K.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.grading import GradeAnswers, Limits, open_grader, validate

CASES = [
    json.loads(line) for line in (Path(__file__).parent / "cases/mathematics.jsonl").read_text().splitlines()
]
MATH = {"type": "math", "reference": "{{item.answer}}"}


@pytest.fixture(scope="module")
def grade() -> Iterator[GradeAnswers]:
    with open_grader(validate(MATH), limits=Limits(item_seconds=20.0)) as opened:
        yield opened


def test_every_case_earns_its_reward(grade: GradeAnswers) -> None:
    results = grade([(text, {"answer": answer}) for text, answer, _ in CASES])
    wrong = [
        (text[-80:], answer, right, result.reward, result.error_detail or result.explanation)
        for (text, answer, right), result in zip(CASES, results, strict=True)
        if result.reward != right
    ]
    assert wrong == []
    assert len(CASES) > 250


@pytest.mark.parametrize(("answer", "reference"), [(b, a) for a, b, right in CASES if right == 0][:40])
def test_what_differs_differs_the_other_way_round_too(
    grade: GradeAnswers, answer: str, reference: str
) -> None:
    assert not grade([(answer, {"answer": reference})])[0].reward


def test_the_explanation_says_how_the_answer_was_read(grade: GradeAnswers) -> None:
    text = "We get $x = 5$, so:\n\n**Final answer:** **73**."
    assert grade([(text, {"answer": "73"})])[0].explanation == "the answer was read as 73"


def test_thoughts_are_no_answer(grade: GradeAnswers) -> None:
    unclosed, closed = grade(
        [("<think>\\boxed{42} maybe", {"answer": "42"}), ("<think>41</think> 42", {"answer": "42"})]
    )
    assert (unclosed.reward, unclosed.error_class) == (0.0, "sample_parse_error")
    assert "thoughts" in (unclosed.error_detail or unclosed.explanation)
    assert closed.reward == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "$" * 20_000, "\\boxed{" * 3_000, "**a" * 6_000, "_1 " * 7_000, "answer is " * 2_000, "(1," * 700,
        "{" * 1_000, "1 + " * 5_000, "\\frac{1}{" * 150, "10^{999999999}", "1e999999999", "99999999!",
        "\\pm1" * 400, "<answer>" * 2_000, "\\frac{1}{0}", "1/0", "9" * 5_000,
    ],
)  # fmt: skip
def test_hostile_texts_cost_little(grade: GradeAnswers, text: str) -> None:
    (result,) = grade([(text, {"answer": "42"})])
    assert result.reward == 0.0
    assert result.seconds < 15.0
