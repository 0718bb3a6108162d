"""Every kind of grader gives the worked examples of the specification their value, and errors their class."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from workers.grading import GradeResult, GraderInvalid, Limits, open_grader, validate
from workers.grading.kinds.text_similarity import rouge_l

ROOT = Path(__file__).resolve().parents[3]
CAT, MAT = "the cat sat on the mat", "the cat is on the mat"
SIX_WORDS = "one two three four five six"


def one(grader: dict[str, Any], text: str, item: dict[str, Any] | None = None) -> GradeResult:
    with open_grader(validate(grader)) as grade:
        (result,) = grade([(text, item or {})])
    return result


def string_check(operation: str) -> dict[str, Any]:
    text, reference = "{{sample.output_text}}", "{{item.label}}"
    return {"type": "string_check", "input": text, "reference": reference, "operation": operation}


@pytest.mark.parametrize(
    ("operation", "text", "label", "reward"),
    [
        ("ilike", "it is paris", "Paris", 1),
        ("like", "it is paris", "Paris", 0),
        ("like", "it is Paris", "Paris", 1),
        ("like", "Paris", "it is Paris", 0),
        ("like", "100 items", "1%", 0),
        ("ilike", "STRASSE", "straße", 1),
        ("eq", "Paris", "Paris", 1),
        ("eq", " Paris", "Paris", 0),
        ("ne", "Paris", "Paris", 0),
        ("neq", "paris", "Paris", 1),
    ],
)
def test_string_check(operation: str, text: str, label: str, reward: float) -> None:
    result = one(string_check(operation), text, {"label": label})
    assert (result.reward, result.error_class, result.sub_rewards) == (reward, None, {})


def similarity(metric: str) -> dict[str, Any]:
    return {
        "type": "text_similarity",
        "name": "t",
        "input": "{{sample.output_text}}",
        "reference": "{{item.ref}}",
        "evaluation_metric": metric,
    }


@pytest.mark.parametrize(
    ("metric", "text", "reference", "score"),
    [
        ("fuzzy_match", CAT, MAT, 0.9302),
        ("bleu", CAT, MAT, 0.2939),
        ("gleu", CAT, MAT, 0.5),
        ("meteor", CAT, MAT, 0.8067),
        ("rouge_1", CAT, MAT, 0.8333),
        ("rouge_2", CAT, MAT, 0.6),
        ("rouge_3", CAT, MAT, 0.25),
        ("rouge_4", CAT, MAT, 0.0),
        ("rouge_5", CAT, MAT, 0.0),
        ("rouge_l", CAT, MAT, 0.8333),
        ("meteor", SIX_WORDS, SIX_WORDS, 1.0),
        ("meteor", "he walks", "he walked", 0.9375),
        ("bleu", SIX_WORDS, SIX_WORDS, 1.0),
        ("rouge_5", "too short", "too short", 0.0),
    ],
)
def test_text_similarity(metric: str, text: str, reference: str, score: float) -> None:
    assert one(similarity(metric), text, {"ref": reference}).reward == pytest.approx(score, abs=5e-5)


SCRIPTS = [
    "สวัสดีครับ", "合同金额为三千元", "شكرا جزيلا لك", "Καλημέρα κόσμε", "Привет, мир", "Paris", "New York",
    "café noir",
]  # fmt: skip


@pytest.mark.parametrize("metric", ["rouge_1", "rouge_l", "bleu", "gleu", "meteor", "fuzzy_match"])
def test_equal_texts_of_any_script_score_1_and_alike_ones_more_than_0(metric: str) -> None:
    grader = similarity(metric)
    assert [one(grader, text, {"ref": text}).reward for text in SCRIPTS] == [1.0] * len(SCRIPTS)
    alike = one(grader, "合同金额为三千元整", {"ref": "合同金额为三千元"})
    assert alike.reward is not None
    assert 0.8 < alike.reward < 1


@pytest.mark.parametrize(
    ("metric", "reference", "words"),
    [("rouge_1", "???", "needs 1 or more words"), ("rouge_2", "Paris", "needs 2 or more words"),
     ("fuzzy_match", "???", "the reference has none")],
)  # fmt: skip
def test_a_reference_that_a_metric_cannot_read_is_said(metric: str, reference: str, words: str) -> None:
    result = one(similarity(metric), reference, {"ref": reference})
    assert result.reward == 0.0
    assert words in result.explanation


METRICS = ["fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_5", "rouge_l"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "pair", [("", "a"), ("a", ""), ("", ""), ("  ", "a b"), ("!!", "??"), ("…", "日本"), ("a", "b")]
)
def test_similarity_of_odd_texts_is_a_number(metric: str, pair: tuple[str, str]) -> None:
    result = one(similarity(metric), pair[0], {"ref": pair[1]})
    assert result.error_class is None
    assert 0 <= (result.reward or 0) <= 0.1


def test_an_overlong_answer_scores_0_and_an_overlong_reference_is_missing() -> None:
    long = "a " * 20_000
    answer = one(similarity("rouge_l"), long, {"ref": "a"})
    assert (answer.reward, answer.error_class) == (0.0, "truncated_observation_error")
    reference = one(similarity("rouge_l"), "a", {"ref": long})
    assert (reference.reward, reference.error_class) == (None, "other_error")
    both = one(similarity("rouge_l"), long, {"ref": long})
    assert (both.reward, both.error_class) == (None, "other_error")


def test_an_answer_that_its_template_makes_overlong_scores_0() -> None:
    grader = similarity("rouge_l") | {"input": "answer: {{sample.output_text}}"}
    result = one(grader, "a" * 32_768, {"ref": "a"})
    assert (result.reward, result.error_class) == (0.0, "truncated_observation_error")


WORDS = st.lists(st.sampled_from(["the", "cat", "Sat", "on", "a", "mat!", "42"]), max_size=12).map(" ".join)


@given(WORDS, WORDS)
def test_rouge_l_is_the_package_s_without_its_table(text: str, reference: str) -> None:
    theirs = RougeScorer(["rougeL"], use_stemmer=False).score(reference, text)["rougeL"].fmeasure
    assert rouge_l(text, reference) == pytest.approx(theirs)


@pytest.mark.parametrize("depth", [100, 101, 987, 100_000])
def test_an_answer_nested_without_end_costs_only_itself(depth: int) -> None:
    grader = validate({"type": "python", "source": "def grade(sample, item):\n    return 1.0"})
    with open_grader(grader) as grade:
        results = grade([("fine", {}), ("[" * depth + "]" * depth, {}), ("fine", {})])
    assert [result.reward for result in results] == [1.0, 1.0, 1.0]


def test_a_row_nested_without_end_is_missing_and_costs_only_itself() -> None:
    row: list[object] = []
    for _ in range(980):
        row = [row]
    grader = validate({"type": "python", "source": "def grade(sample, item):\n    return 1.0"})
    with open_grader(grader) as grade:
        results = grade([("fine", {}), ("fine", {"deep": row}), ("fine", {})])
    assert [result.reward for result in results] == [1.0, None, 1.0]
    assert results[1].error_class == "other_error"


def test_a_multi_grader_has_a_limit_on_its_parts() -> None:
    part = {"type": "string_check", "input": "a", "reference": "a", "operation": "eq"}
    parts = {f"g{number}": part for number in range(33)}
    with pytest.raises(GraderInvalid, match="at most 32"):
        validate({"type": "multi", "graders": parts, "calculate_output": "g0"})


PYTHON = "def grade(sample, item):\n    return float(sample['output_text'].strip() == item['answer'])"


@pytest.mark.parametrize(
    ("source", "reward"),
    [
        (PYTHON, 1.0),
        ("def grade(sample, item): return True", 1.0),
        ("def grade(sample, item): return -3", -3.0),
        ("import numpy\ndef grade(sample, item): return numpy.float32(0.5)", 0.5),
        ("def grade(sample, item): return sample['output_json']['a']", 2.0),
        ("def grade(sample, item): return len(sample['output_tools'])", 0.0),
        ("def grade(s, i): return s['choices'][0]['message']['content'] == s['output_text']", 1.0),
    ],
)
def test_python(source: str, reward: float) -> None:
    text = '{"a": 2}'
    result = one({"type": "python", "name": "p", "source": source}, text, {"answer": text})
    assert (result.reward, result.error_class, result.error_detail) == (reward, None, None)


@pytest.mark.parametrize(
    "value", ["None", "'1'", "float('nan')", "float('inf')", "[1]", "10 ** 400", "1j", "grade"]
)
def test_python_that_returns_no_finite_number_is_the_graders_fault(value: str) -> None:
    result = one({"type": "python", "source": f"def grade(sample, item): return {value}"}, "")
    assert (result.reward, result.error_class) == (None, "python_grader_runtime_error")
    assert result.error_detail


def test_a_traceback_shows_the_users_own_lines_and_what_was_printed() -> None:
    source = """def helper(x):
    return 1 / x

def grade(sample, item):
    print('seen', item)
    return helper(0)
"""
    result = one({"type": "python", "source": source}, "", {"n": 1})
    assert result.stdout == "seen {'n': 1}\n"
    detail = (result.error_detail or "").splitlines()
    assert [line for line in detail if line.startswith("  File")] == [
        '  File "grader.py", line 6, in grade',
        '  File "grader.py", line 2, in helper',
    ]
    assert detail[-1] == "ZeroDivisionError: division by zero"
    assert "    return 1 / x" in detail


def multi(formula: str = "0.7 * exact + 0.3 * max(close, 0.5)", **graders: Any) -> dict[str, Any]:
    exact = {
        "type": "string_check",
        "name": "exact",
        "input": "{{sample.output_json.city}}",
        "reference": "{{item.city}}",
        "operation": "eq",
    }
    close = {"type": "python", "name": "close", "source": "def grade(sample, item): return item['close']"}
    return {
        "type": "multi",
        "name": "both",
        "graders": {"exact": exact, "close": close, **graders},
        "calculate_output": formula,
    }


def test_multi_weighs_its_parts() -> None:
    result = one(multi(), '{"city": "Rome"}', {"city": "Rome", "close": 0.8})
    assert result.reward == pytest.approx(0.94)
    assert result.sub_rewards == {"exact": 1.0, "close": 0.8}
    assert result.error_class is None


def test_in_multi_a_bad_sample_counts_0_and_is_flagged() -> None:
    result = one(multi(), "no JSON", {"city": "Rome", "close": 0.8})
    assert result.reward == pytest.approx(0.24)
    assert result.sub_rewards == {"exact": 0.0, "close": 0.8}
    assert result.error_class == "sample_parse_error"
    assert (result.error_detail or "").startswith("exact: ")


def test_in_multi_a_failed_grader_leaves_the_whole_missing() -> None:
    result = one(multi(), "no JSON", {"city": "Rome"})
    assert result.reward is None
    assert result.sub_rewards == {"exact": 0.0, "close": None}
    assert result.error_class == "python_grader_runtime_error"
    assert "KeyError: 'close'" in (result.error_detail or "")


def test_in_multi_a_formula_without_value_leaves_the_whole_missing() -> None:
    result = one(multi("exact / close"), '{"city": "Rome"}', {"city": "Rome", "close": 0})
    assert (result.reward, result.error_class) == (None, "formula_parse_error")
    assert result.sub_rewards == {"exact": 1.0, "close": 0.0}


FAULTS: list[tuple[str, dict[str, Any], str, float | None]] = [
    ("sample_parse_error", {**string_check("eq"), "input": "{{sample.output_json}}"}, "no JSON", 0.0),
    ("invalid_variable_error", {**string_check("eq"), "input": "{{sample.output_json.x}}"}, "{}", 0.0),
    ("invalid_variable_error", {**string_check("eq"), "reference": "{{item.absent}}"}, "a", None),
    ("truncated_observation_error", similarity("rouge_l"), "a" * 40_000, 0.0),
    ("other_error", {**similarity("rouge_l"), "reference": "a" * 40_000}, "a", None),
    ("other_error", {"type": "math", "reference": "nothing to read"}, "1", None),
    ("python_grader_runtime_error", {"type": "python", "source": "def grade(s, i): return 1 / 0"}, "", None),
    ("formula_parse_error", multi("1 / (exact - exact)"), '{"city": "Rome"}', None),
]


@pytest.mark.parametrize(("error_class", "grader", "text", "reward"), FAULTS)
def test_a_fault_has_its_class_and_a_reason(
    error_class: str, grader: dict[str, Any], text: str, reward: float | None
) -> None:
    result = one(grader, text, {"label": "a", "ref": "a", "city": "Rome", "close": 1})
    assert (result.reward, result.error_class) == (reward, error_class)
    assert result.error_detail


def test_a_formula_of_huge_powers_is_graded_at_once() -> None:
    started = time.perf_counter()
    result = one({**multi("9^9^9^9"), "graders": {"s": string_check("eq")}}, "a", {"label": "a"})
    assert time.perf_counter() - started < 1
    assert (result.reward, result.error_class) == (None, "formula_parse_error")


def test_a_row_without_the_field_is_not_the_models_fault() -> None:
    result = one(string_check("eq"), "Paris", {})
    assert (result.reward, result.error_class) == (None, "invalid_variable_error")
    assert "{{item.label}}" in (result.error_detail or "")


def test_a_batch_keeps_its_order() -> None:
    with open_grader(validate(string_check("eq"))) as grade:
        results = grade([(str(n), {"label": str(n % 3)}) for n in range(9)])
    assert [r.reward for r in results] == [1, 1, 1, 0, 0, 0, 0, 0, 0]


def run_command(tmp_path: Path, request: dict[str, Any]) -> dict[str, Any]:
    path, out = tmp_path / "request.json", tmp_path / "result.json"
    path.write_text(json.dumps(request))
    command = [sys.executable, "-m", "workers.grading", "grade", str(path), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def test_the_command_grades_a_file(tmp_path: Path) -> None:
    items = [{"output_text": "Rome", "item": {"answer": "Rome"}}, {"output_text": "Oslo", "item": {}}]
    result = run_command(tmp_path, {"grader": {"type": "python", "source": PYTHON}, "items": items})
    first, second = result["results"]
    assert (first["reward"], first["error_class"]) == (1.0, None)
    assert (second["reward"], second["error_class"]) == (None, "python_grader_runtime_error")
    assert set(first) == {field.name for field in fields(GradeResult)}


def test_the_command_names_the_field_of_an_invalid_grader(tmp_path: Path) -> None:
    result = run_command(tmp_path, {"grader": {"type": "python", "source": "x = 1"}, "items": []})
    assert result["invalid"]["param"] == "source"


def test_graders_load_without_torch_and_without_slow_libraries() -> None:
    heavy = ["torch", "transformers", "django", "nltk", "numpy", "rouge_score", "rapidfuzz", "jsonschema"]
    check = f"import sys, workers.grading; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, capture_output=True, text=True)
    assert out.stdout == "[]\n"


COUNTDOWN = (Path(__file__).parent / "cases/countdown.txt").read_text()
DEEP = "(" * 150 + "1" + ")" * 150
COUNTDOWN_ANSWERS: list[tuple[str, float | None]] = [
    ("(2 + 7) * 3", 1.0), ("2 + 3 + 7", 0.0), ("9**9**9**9", 0.0), ("(2 + 7) * 3", 1.0),
    ("[].__class__", 0.0),
    ("decimal", 0.5), ("fraction", 0.25), ("numpy", 0.75), ("array", 0.5), ("bool", 1.0), ("nan", None),
    ("text", None), (DEEP, 0.0), ("-" * 5_000 + "1", 0.0), ("", 0.0), ("(7 + 2) * 3", 1.0),
]  # fmt: skip


def test_a_countdown_grader_that_swallows_everything_costs_one_answer_at_most() -> None:
    grader = validate({"type": "python", "source": COUNTDOWN})
    item = {"numbers": [2, 3, 7], "target": 27}
    with open_grader(grader, limits=Limits(item_seconds=2.0)) as grade:
        results = grade([(text, item) for text, _ in COUNTDOWN_ANSWERS])
    for (text, right), result in zip(COUNTDOWN_ANSWERS, results, strict=True):
        endless = text == "9**9**9**9"
        assert result.reward == right or (endless and result.reward is None), (text[:20], result)
