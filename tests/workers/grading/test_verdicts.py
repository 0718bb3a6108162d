"""A verdict is found in a judge's reply with all its characters, and numbers and truth values in texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.grading.judge.cache import VerdictCache, build_key
from workers.grading.judge.verdicts import as_number, as_truth, content_text, find_refusal, parse_verdict

TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
VERDICTS = st.fixed_dictionaries({"reason": TEXTS, "result": st.floats(0, 1) | st.integers(0, 5)})
WRAPPINGS = [
    "{}",
    "  \n{}\n",
    "```json\n{}\n```",
    "~~~\n{}\n~~~",
    "<think>perhaps {{1}}</think>\n{}",
    "<think>a</think>```json\n{}\n```",
    "Here it is: {}",
    "{} That is all.",
]


@given(VERDICTS, st.sampled_from(WRAPPINGS), st.booleans())
def test_a_verdict_comes_back_from_every_wrapping(verdict: dict[str, Any], wrapping: str, raw: bool) -> None:
    """``raw`` leaves letters beyond ASCII as they are, as most models do."""
    assert parse_verdict(wrapping.format(json.dumps(verdict, ensure_ascii=not raw))) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"a": 1} then {"a": 2}', {"a": 2}),
        ('{"a": {"b": 1}}!', {"a": {"b": 1}}),
        ('```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```', {"a": 2}),
        ('```python\n{}\n```\n```json\n{"a": 2}\n```', {"a": 2}),
        ('{broken {"a": 1}', {"a": 1}),
        ('{"text": "```json {} ```"}', {"text": "```json {} ```"}),
    ],
)
def test_of_several_objects_the_last_whole_one_counts(text: str, verdict: Any) -> None:
    assert parse_verdict(text) == verdict


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("good", "not JSON"),
        ("<think>{}", "only thoughts"),
        ("<think>{}</think>", "only thoughts"),
        ("[" * 100_000, "not JSON|nested too deeply"),
        ('{"a": 1', "not JSON"),
    ],
)
def test_a_reply_without_a_verdict_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_verdict(text)


@pytest.mark.parametrize(
    ("value", "number"),
    [("0.8", 0.8), (" 3 ", 3.0), ("1e1", 10.0), ("-2", -2.0), (4, 4), (None, None), ("high", "high"),
     ("nan", "nan"), ("inf", "inf"), ("-Infinity", "-Infinity"), ("", ""), ("4/5", "4/5")],
)  # fmt: skip
def test_a_number_in_quotes_is_a_number(value: Any, number: Any) -> None:
    assert as_number(value) == number


@pytest.mark.parametrize(
    ("value", "truth"),
    [("true", True), (" Yes\n", True), ("FALSE", False), ("no", False), (True, True), (1, 1), (None, None),
     ("maybe", "maybe"), ("", "")],
)  # fmt: skip
def test_yes_and_no_are_truth_values(value: Any, truth: Any) -> None:
    assert as_truth(value) == truth


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}, "c"], "abc"),
        (
            [{"text": "a"}, {"type": "thinking", "text": "b"}, {"type": "text"}, {"type": "text", "text": 3}],
            "a",
        ),
        ({"type": "text", "text": "a"}, "a"),
        (7, ""),
    ],
)
def test_the_text_of_a_reply_leaves_out_thoughts_and_what_is_no_text(content: Any, text: str) -> None:
    assert content_text(content) == text


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        ([{"type": "refusal", "refusal": "I cannot."}], "I cannot."),
        ([{"refusal": ""}, {"refusal": None}, {"refusal": "No."}], "No."),
        ([{"refusal": 3}, "text"], ""),
        ("I cannot.", ""),
        (None, ""),
    ],
)
def test_a_refusal_among_the_parts_is_found(content: Any, refusal: str) -> None:
    assert find_refusal(content) == refusal


@given(st.dictionaries(TEXTS, st.integers() | TEXTS, max_size=4), st.integers() | TEXTS)
def test_a_verdict_is_kept_for_what_was_asked_and_for_nothing_else(asked: dict[str, Any], other: Any) -> None:
    turned = dict(reversed(asked.items()))
    assert build_key(asked, "model") == build_key(turned, "model")
    assert build_key(asked, "model") != build_key(asked, "another model")
    assert build_key(asked | {"more": other}) != build_key({k: v for k, v in asked.items() if k != "more"})


def test_a_text_that_utf_8_cannot_hold_has_a_key_too() -> None:
    assert build_key("\ud800") != build_key("\ud801")


def test_two_processes_of_a_node_share_verdicts_and_the_first_one_stays(tmp_path: Any) -> None:
    one, two = VerdictCache(tmp_path / "cache"), VerdictCache(tmp_path / "cache")
    one.put("key", {"result": 1})
    two.put("key", {"result": 2})
    assert [each.get("key") for each in (one, two)] == [{"result": 1}] * 2
    assert two.get("another") is None
    one.close()
    assert VerdictCache(tmp_path / "cache").get("key") == {"result": 1}


def test_without_a_folder_nothing_is_kept() -> None:
    cache = VerdictCache(None)
    cache.put("key", 1)
    assert cache.get("key") is None
    cache.close()
