"""Templates insert exactly what their author points at, once, and say whose fault a missing value is."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.grading.results import GradingFault, Subject
from workers.grading.template import TemplateInvalid, parse_template

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def filled(template: str, text: str = "", item: dict[str, Any] | None = None) -> str:
    return parse_template(template).fill(Subject(text, item or {}))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ item.name }}", "Ada"),
        ("{{item.name}}!", "Ada!"),
        ("<{{ item.a.b[1] }}>", "<20>"),
        ("{{item.price}} {{item.paid}} {{item.none}}", "1.0 true null"),
        ("{{item.a}}", '{"b":[10,20]}'),
        ("{{item['Unit price']}} {{item[\"Unit price\"]}}", "9 9"),
        ("{{item.ümlaut-key}}", "ü"),
        ("{{sample.output_text}}", '{"city": "Köln", "n": [1, 2]}'),
        ("{{sample.output_json.city}} {{sample.output_json.n[1]}}", "Köln 2"),
        ("{{sample.output_json.n}}", "[1,2]"),
        ("{{sample.choices[0].message.content}}", '{"city": "Köln", "n": [1, 2]}'),
        ("{{sample.output_tools}}", "[]"),
        ('{"x": {"y": {{item.price}}}}', '{"x": {"y": 1.0}}'),
        ("no template", "no template"),
        ("", ""),
    ],
)
def test_a_reference_becomes_its_value(template: str, expected: str) -> None:
    item = {
        "name": "Ada",
        "a": {"b": [10, 20]},
        "price": 1.0,
        "paid": True,
        "none": None,
        "Unit price": 9,
        "ümlaut-key": "ü",
    }
    assert filled(template, '{"city": "Köln", "n": [1, 2]}', item) == expected


@given(st.text(), st.text())
def test_inserted_text_is_never_expanded(text: str, value: str) -> None:
    hostile = text + "{{item.secret}}" + value
    assert filled("{{sample.output_text}}|{{item.v}}", hostile, {"v": hostile, "secret": "S"}) == (
        f"{hostile}|{hostile}"
    )


@given(st.dictionaries(st.text(st.characters(exclude_characters="'\"", exclude_categories=["Cs"])), JSON))
def test_every_field_of_a_row_can_be_reached(item: dict[str, Any]) -> None:
    for key, value in item.items():
        expected = (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        )
        if "}}" not in key:
            assert filled(f'{{{{ item["{key}"] }}}}', "", item) == expected


@given(st.text())
def test_any_text_is_a_template_or_is_refused(text: str) -> None:
    with contextlib.suppress(TemplateInvalid):
        assert parse_template("{{" + text).pieces


@pytest.mark.parametrize(
    "template",
    [
        "{{ env.PATH }}",
        "{{ 1 + 1 }}",
        "{{}}",
        "{{ item.x",
        "{{ item.x | upper }}",
        "{{ item.x() }}",
        "{{ item.__class__ }}{{ items.x }}",
        "{{ item[-1] }}",
        "{{ item..x }}",
        "{{ sample }}",
        "{{ sample.output_txt }}",
        "{{ sample.output_audio }}",
        "{{{ item.x }}}",
    ],
)
def test_anything_else_between_braces_is_refused(template: str) -> None:
    with pytest.raises(TemplateInvalid):
        parse_template(template)


@pytest.mark.parametrize(
    ("template", "text", "error_class", "of_sample"),
    [
        ("{{item.absent}}", "", "invalid_variable_error", False),
        ("{{item.a.b}}", "", "invalid_variable_error", False),
        ("{{item.a[0]}}", "", "invalid_variable_error", False),
        ("{{item.list[5]}}", "", "invalid_variable_error", False),
        ("{{item.list.length}}", "", "invalid_variable_error", False),
        ("{{sample.output_json.city}}", '{"town": 1}', "invalid_variable_error", True),
        ("{{sample.output_json.city}}", '"text"', "invalid_variable_error", True),
        ("{{sample.output_tools[0].function.name}}", "", "invalid_variable_error", True),
        ("{{sample.output_json}}", "not JSON", "sample_parse_error", True),
        ("{{sample.output_json.x}}", '{"x": NaN}', "sample_parse_error", True),
        ("{{sample.output_json.x}}", "[" * 100_000, "sample_parse_error", True),
        ("{{sample.output_json}}", "9" * 10_000, "sample_parse_error", True),
        ("{{sample.output_json}}", "", "sample_parse_error", True),
    ],
)
def test_a_missing_value_names_whose_fault_it_is(
    template: str, text: str, error_class: str, of_sample: bool
) -> None:
    with pytest.raises(GradingFault) as raised:
        filled(template, text, {"a": "text", "list": [1]})
    assert (raised.value.error_class, raised.value.of_sample) == (error_class, of_sample)
    assert "{{" in raised.value.detail
