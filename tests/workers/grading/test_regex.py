"""The regex kind: what a pattern matches or captures, and that no pattern hangs or fills the memory."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.grading import GradeResult, GraderInvalid, open_grader, validate
from workers.grading.kinds.regex import MAX_UNFOLDED, bound_parts


def grade(pattern: str, text: str, item: dict[str, Any] | None = None, **more: Any) -> GradeResult:
    with open_grader(validate({"type": "regex", "pattern": pattern, **more})) as grade_all:
        (result,) = grade_all([(text, item or {})])
    return result


@pytest.mark.parametrize(
    ("pattern", "text", "more", "reward"),
    [
        (r"\d{4}-\d{2}-\d{2}", "on 2026-11-23.", {}, 1),
        (r"\d{4}-\d{2}-\d{2}", "on 2026-11-23.", {"match": "fullmatch"}, 0),
        ("paris", "it is PARIS", {}, 0),
        ("paris", "it is PARIS", {"flags": ["ignorecase"]}, 1),
        ("^b$", "a\nb", {}, 0),
        ("^b$", "a\nb", {"flags": ["multiline"]}, 1),
        ("a.b", "a\nb", {"flags": ["dotall"]}, 1),
        (r"#### (\d+)", "so #### 42", {"reference": "{{item.n}}"}, 1),
        (r"#### (\d+)", "so #### 41", {"reference": "{{item.n}}"}, 0),
        (r"(?P<n>\d+) (\w+)", "42 cats", {"reference": "cats", "group": 2}, 1),
        (r"(?P<n>\d+) (\w+)", "42 cats", {"reference": "{{item.n}}", "group": "n"}, 1),
        (r"\d+", "42", {"reference": "42", "group": 0}, 1),
        (r"(\d)?x", "x", {"reference": ""}, 0),
        (r"\p{Lu}", "É", {}, 1),
    ],
)
def test_a_pattern_matches_or_captures_the_reference(
    pattern: str, text: str, more: dict[str, Any], reward: float
) -> None:
    result = grade(pattern, text, {"n": 42}, **more)
    assert (result.reward, result.error_class) == (reward, None)


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(?:a|aa)+$"])
def test_a_match_that_takes_for_ever_is_missing_with_a_remedy(pattern: str) -> None:
    started = time.perf_counter()
    result = grade(pattern, "a" * 5000 + "!")
    assert time.perf_counter() - started < 2
    assert (result.reward, result.error_class) == (None, "other_error")
    assert "avoid repetitions within repetitions" in (result.error_detail or "")


@pytest.mark.parametrize(
    ("raw", "param", "words"),
    [
        ({"pattern": "("}, "pattern", "missing )"),
        ({"pattern": "a" * 2001}, "pattern", "2000 characters"),
        ({"pattern": "(" * 900 + ")" * 900}, "pattern", "nested"),
        ({"pattern": "a", "flags": ["verbose"]}, "flags.0", "'ignorecase'"),
        ({"pattern": "a", "reference": "a"}, "group", "no group 1; it has 0"),
        ({"pattern": "(?P<n>a)", "reference": "a", "group": "m"}, "group", "no group 'm'; it has 0, 1, n"),
        ({"pattern": r"\L<words>"}, "pattern", "named list"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(raw: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(GraderInvalid) as raised:
        validate({"type": "regex", **raw})
    assert raised.value.param == param
    assert words in raised.value.message


@pytest.mark.parametrize(
    "pattern",
    [
        "a{1000000000}",
        "(?:ab){99999999}",
        "[ab]{99999999,}",
        "(?:a{1000}){1000}",
        "(?:" * 100 + "a" + "{2})" * 100,
        "(?:a|b{3000}){3000}",
        "(?x)(?:ab) # twice\n {99999999}",
        "(?:[)]a{1000}b){1000}",
        r"(?:\)a{1000}b){1000}",
        "(?<=a{9999999})",
        "(a{1000})  {1000}",
        "(a{100}){100}{100}",
        f"[{''.join(map(chr, range(1024, 4924, 2)))}]{{47000}}",
    ],
)
def test_a_pattern_that_would_unfold_without_end_is_refused_at_once(pattern: str) -> None:
    started = time.perf_counter()
    with pytest.raises(GraderInvalid, match="pattern"):
        validate({"type": "regex", "pattern": pattern})
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "pattern",
    [
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"(\d{1,3}\.){3}\d{1,3}",
        r"^(?:\w+\s){3,100}$",
        "(?:a{0,9999}){0,9999}",
        ".{1000}",
        "[0-9]{1000}",
    ],
)
def test_patterns_of_everyday_are_accepted(pattern: str) -> None:
    assert validate({"type": "regex", "pattern": pattern})


PIECES = ["a", "[a)]", r"\)", "{2}", "{30}", "{500}", "{2,}", "*", "+", "(?:", "(", "(?=", ")", "|", " "]


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_any_pattern_is_checked_in_no_time(pattern: str) -> None:
    started = time.perf_counter()
    with suppress(GraderInvalid):
        validate({"type": "regex", "pattern": pattern})
        assert bound_parts(pattern) <= MAX_UNFOLDED
    assert time.perf_counter() - started < 1
