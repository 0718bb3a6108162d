"""Fields with any name: graders that read them are shown, tried and checked like others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.graders.definitions.full_marks import from_field, guess_full_answer
from webapp.graders.definitions.parsing import TextInvalid, find_problems, read_json
from webapp.graders.definitions.references import reference_reader
from webapp.graders.definitions.required_fields import find_required_paths
from workers.grading import KINDS

EXACT = KINDS["string_check"].example
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ODD = ["the answer", 'say "it"', "don't", "a]b", "{{x}}", "}}", "\"'", "item.x", "0", "naïve", "a\nb"]


def python(*names: str) -> dict[str, Any]:
    read = " + ".join(f"str(item[{name!r}])" for name in names)
    return {"type": "python", "name": "g", "source": f"def grade(sample, item):\n    return len({read})\n"}


@pytest.mark.parametrize("name", ODD)
def test_the_expected_answer_is_the_field_of_any_name(name: str) -> None:
    """A name that no template can write has no expected answer, and is listed with the other fields."""
    found = reference_reader(python(name))({name: "42", "other": "no"})
    if found.expected:
        assert found.expected.text == "42"
    else:
        assert found.fields == [(name, "42")]
        assert ('"' in name and "'" in name) or "}}" in name


@given(NAMES, NAMES)
def test_no_names_of_fields_break_the_guess(first: str, second: str) -> None:
    item: dict[str, Any] = {first: "one", second: 2}
    found = reference_reader(python(first, second))(item)
    if found.expected and found.expected.text.startswith("{"):
        assert json.loads(found.expected.text).items() <= item.items()


@given(NAMES)
def test_a_field_that_was_set_is_the_answer_or_unknown(name: str) -> None:
    full = from_field(name)
    assert full.fill({name: "42"}) == "42" if full else True
    assert full.fill({}) is None if full else True


def test_without_a_field_nothing_is_guessed() -> None:
    assert not from_field("")
    assert not guess_full_answer({"type": "python", "name": "g", "source": "def grade(s, i): return 1"}, [])


# --- required fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "required"),
    [
        ("return item['a'] == item['b']", ["a", "b"]),
        ("return item['a'] if 'a' in item else 0", []),
        ("return item.get('a', 0)", []),
        ("item['a'] = 1\n    return item['a']", []),
        ("try:\n        return item['a']\n    except KeyError:\n        return 0", []),
        ("if item['a']:\n        return item['b']\n    return 1", ["a"]),
        ("return item['a'] and item['b']", ["a"]),
        ("return item['a']['b']", ["a"]),
        ("key = 'a'\n    return item[key]", []),
        ("return {'a': 1}['a']", []),
        ("for each in item['rows']:\n        return each['x']", ["rows"]),
    ],
)
def test_python_requires_what_it_reads_of_every_row(body: str, required: list[str]) -> None:
    source = f"def grade(sample, item):\n    {body}\n"
    definition = {"type": "python", "name": "g", "source": source}
    assert find_required_paths(definition) == [(name,) for name in required]


def test_the_row_may_have_another_name_and_templates_go_deeper() -> None:
    source = "def grade(answer, row):\n    item = {}\n    return row['a'] + len(item)\n"
    assert find_required_paths({"type": "python", "name": "g", "source": source}) == [("a",)]
    texts = {"input": "{{ item.order['line no'][0] }} {{sample.output_text}}", "reference": "{{item.a}} {{"}
    assert find_required_paths(EXACT | texts) == [("order", "line no", 0)]


# --- errors in a text --------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b", "\x1c", "plain"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_error_quotes_the_line_that_it_names(mark: str, end: str) -> None:
    """Characters that other programs take for line breaks may stand inside a text."""
    name = mark if mark.isprintable() or mark in "\u2028\x85" else f"\\u{ord(mark):04x}"
    text = end.join(["{", f'"name": "a{name}b",', '"type": "string_check",', '"operation": "zzz"', "}"])
    with pytest.raises(TextInvalid) as refused:
        read_json(text)
    line = refused.value.position.line
    assert refused.value.excerpt == text.split("\n")[line - 1].strip()
    assert [problem["line"] for problem in find_problems(text)] == [line]


@pytest.mark.parametrize(
    ("text", "line", "excerpt"),
    [
        ("", 1, ""),
        ("{\n", 2, ""),
        ('{"a": "x\u2028",\n oops}', 2, "oops}"),
        ('{\n"a": 1,,\n}', 2, '"a": 1,,'),
    ],
)
def test_a_text_that_is_no_json_quotes_its_line(text: str, line: int, excerpt: str) -> None:
    with pytest.raises(TextInvalid) as refused:
        read_json(text)
    assert (refused.value.position.line, refused.value.excerpt) == (line, excerpt)
