"""A definition is accepted as it will run, or the field that prevents it is named."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from workers.contract.graders import MAX_PYTHON_SOURCE_BYTES, Grader, StringCheckGrader
from workers.grading import KINDS, GraderInvalid, canonical, open_grader, python_problems, sha256, validate

CHECK = {
    "type": "string_check",
    "name": "c",
    "input": "{{sample.output_text}}",
    "reference": "x",
    "operation": "eq",
}
SIMILAR = {
    "type": "text_similarity",
    "name": "s",
    "input": "a",
    "reference": "{{item.b}}",
    "evaluation_metric": "bleu",
}
PYTHON = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 1"}
MULTI = {"type": "multi", "name": "m", "graders": {"c": CHECK, "p": PYTHON}, "calculate_output": "c + p"}


@pytest.mark.parametrize("raw", [CHECK, SIMILAR, PYTHON, MULTI])
def test_a_good_definition_comes_back_unchanged(raw: dict[str, Any]) -> None:
    before = copy.deepcopy(raw)
    assert validate(raw).model_dump(exclude_none=True) == raw == before


def test_other_spellings_are_normalised() -> None:
    parts = [{**CHECK, "operation": "neq", "pass_threshold": 0.5}, PYTHON]
    grader = validate({"type": "multi", "graders": parts, "calculate_output": "c+p", "pass_threshold": 1})
    assert grader.type == "multi"
    assert list(grader.graders) == ["c", "p"]
    assert grader.graders["c"].operation == "ne"  # type: ignore[union-attr]
    nameless = {key: value for key, value in PYTHON.items() if key != "name"}
    assert validate(nameless).name == "grader"
    assert validate({**MULTI, "graders": {"c": nameless, "p": nameless}}).graders["c"].name == "c"  # type: ignore[union-attr]


SENT_BY_THE_SDK: list[dict[str, Any]] = [
    {
        "type": "score_model",
        "name": "j",
        "model": "m",
        "range": [0, 5],
        "input": [
            {"role": "developer", "content": "Score it.", "type": "message"},
            {"role": "system", "content": {"type": "input_text", "text": "{{item.ref}}"}},
            {"role": "user", "content": ["a", {"type": "output_text", "text": "{{sample.output_text}}"}]},
        ],
        "sampling_params": {
            "temperature": 0,
            "top_p": None,
            "seed": 1,
            "max_completions_tokens": 100,
            "reasoning_effort": "low",
        },
        "pass_threshold": 3,
    },
    {
        "type": "label_model",
        "name": "l",
        "model": "m",
        "input": [{"role": "user", "content": "{{sample.output_text}}"}],
        "labels": ["polite", "rude"],
        "passing_labels": ["polite"],
    },
    {"type": "python", "source": PYTHON["source"], "image_tag": "2025-05-08"},
    {"type": "multi", "name": "m", "graders": CHECK, "calculate_output": "c"},
    {"type": "multi", "graders": [CHECK, {**PYTHON, "pass_threshold": 1}], "calculate_output": "c * p"},
]


@pytest.mark.parametrize("raw", SENT_BY_THE_SDK)
def test_what_the_openai_sdk_sends_is_accepted(raw: dict[str, Any]) -> None:
    assert validate(json.loads(json.dumps(raw))).type == raw["type"]


def test_equal_definitions_have_equal_hashes_and_others_do_not() -> None:
    shuffled = {"calculate_output": "c + p", "graders": {"p": PYTHON, "c": dict(reversed(CHECK.items()))}}
    same = validate({**shuffled, "name": "m", "type": "multi"})
    assert canonical(same) == canonical(validate(MULTI))
    assert sha256(same) == sha256(validate(MULTI))
    assert len(sha256(same)) == 64
    assert sha256(validate({**MULTI, "calculate_output": "c - p"})) != sha256(same)


TEXT = {"role": "user", "content": "a", "type": "message"}
IMAGE = {"type": "input_image", "image_url": "https://example.org/a.png"}
SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
SHAPE = {"type": "json_schema", "json_schema": {}}
SQL = {"type": "sql", "reference": "select 1", "databases": ["create table t(a);"]}
IMAGE_IN_MULTI = ("graders.c.input.0.content.0.type", "images")
WRONG_IN_RUBRIC = ("criteria.0.grader.input", "string")
WRONG_PATTERN = ("json_schema.properties.a.pattern", "regex")
OTHER_DRAFT = ("json_schema.$schema", "2020-12")


def judge(messages: list[Any]) -> dict[str, Any]:
    return {"type": "score_model", "name": "j", "model": "m", "input": messages}


def deep(schema: dict[str, Any], levels: int) -> dict[str, Any]:
    return deep({"not": schema}, levels - 1) if levels else schema


def without(raw: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in raw.items() if k != key}


@pytest.mark.parametrize(
    ("raw", "param", "words"),
    [
        (None, "", "JSON object"),
        ([], "", "JSON object"),
        ({}, "type", "none of"),
        ({"type": "endpoint"}, "type", "score_model"),
        ({"type": ["x"]}, "type", "none of"),
        (judge([{"role": "user", "content": [IMAGE]}]), "input.0.content.0.type", "images cannot be graded"),
        (judge([TEXT, {"role": "user", "content": SOUND}]), "input.1.content.type", "sound cannot be graded"),
        (judge([{"role": "user", "content": ["a", {"type": "file"}]}]), "input.0.content.1.type", "file"),
        (
            judge([{"role": "user", "content": {"type": "input_text"}}]),
            "input.0.content.text",
            "needs a text",
        ),
        (judge([{"role": "user", "content": [{"text": "a", "x": 1}]}]), "input.0.content.0.x", "only type"),
        (judge([{"role": "user", "content": [["a"]]}]), "input.0.content.0", "a block of text"),
        (judge([{"role": "user", "content": 5}]), "input.0.content", "a block of text"),
        (judge([{"role": "tool", "content": "a"}]), "input.0.role", "'user'"),
        (judge([{"role": "user"}]), "input.0.content", "required"),
        (judge(["a"]), "input.0", "JudgeMessage"),
        (judge([]), "input", "at least 1"),
        (judge([{"role": "user", "content": ["a", "{{x}}"]}]), "input.0.content.1", "'x'"),
        ({**MULTI, "graders": {"c": judge([{"role": "user", "content": [IMAGE]}])}}, *IMAGE_IN_MULTI),
        ({"type": "rubric", "criteria": [{"name": "a", "grader": {**CHECK, "input": 1}}]}, *WRONG_IN_RUBRIC),
        ({**SHAPE, "json_schema": {"type": "nope"}}, "json_schema.type", "'nope'"),
        ({**SHAPE, "json_schema": {"properties": {"a": {"pattern": "("}}}}, *WRONG_PATTERN),
        ({**SHAPE, "json_schema": {"$ref": "http://x.org/s"}}, "json_schema", "nothing is fetched"),
        ({**SHAPE, "json_schema": {"$ref": "#/$defs/a"}}, "json_schema", "leads nowhere"),
        ({**SHAPE, "json_schema": {"$schema": "http://json-schema.org/draft-07/schema#"}}, *OTHER_DRAFT),
        ({**SHAPE, "json_schema": {"enum": ["a" * 20_000]}}, "json_schema", "the limit is 16384"),
        ({**SHAPE, "json_schema": deep({}, 500)}, "json_schema", "nested too deeply"),
        ({**SHAPE, "fields": {"a": {}}}, "reference", "fields are compared"),
        ({**SHAPE, "reference": "{}"}, "fields", "nothing is compared"),
        ({**SHAPE, "reference": "{}", "fields": {"a b": {}}}, "fields.a b", "cannot read"),
        ({**SHAPE, "reference": "{}", "fields": {"a": {"weight": 0}}}, "fields.a.weight", "greater than 0"),
        ({**SQL, "databases": []}, "databases", "at least 1"),
        ({**SQL, "reference": " ; -- later"}, "reference", "no query"),
        ({**SQL, "databases": ["create table t(a);", " "]}, "databases.1", "this is empty"),
        ({**SQL, "databases": ["-" * 1_000_001]}, "databases", "the limit is 1000000"),
        ({**SQL, "partial": 1}, "partial", "less than 1"),
        ({"type": "math"}, "reference", "required"),
        ({**CHECK, "operation": "equals"}, "operation", "'eq'"),
        ({**CHECK, "extra": 1}, "extra", "not permitted"),
        ({**CHECK, "input": 5}, "input", "string"),
        (without(CHECK, "reference"), "reference", "required"),
        ({**CHECK, "input": "{{env.HOME}}"}, "input", "'env'"),
        ({**SIMILAR, "reference": "{{item.x"}, "reference", "without"),
        ({**SIMILAR, "evaluation_metric": "cosine"}, "evaluation_metric", "no embedding model is set"),
        ({**SIMILAR, "evaluation_metric": "rouge_6"}, "evaluation_metric", "'fuzzy_match'"),
        ({**PYTHON, "source": "def grade(sample, item:\n  pass"}, "source", "line 1"),
        ({**PYTHON, "source": "x = 1"}, "source", "no function grade"),
        ({**MULTI, "graders": {}}, "graders", "at least 1"),
        (without(MULTI, "graders"), "graders", "by name"),
        ({**MULTI, "graders": [without(CHECK, "name")]}, "graders.0.name", "name"),
        ({**MULTI, "graders": [CHECK, CHECK]}, "graders.c", "two graders"),
        ({**MULTI, "graders": {"c": MULTI}}, "graders.c", "cannot hold"),
        ({**MULTI, "graders": {"c": {**CHECK, "operation": 1}, "p": PYTHON}}, "graders.c.operation", "'eq'"),
        ({**MULTI, "graders": {"c": {**CHECK, "input": "{{x}}"}, "p": PYTHON}}, "graders.c.input", "'x'"),
        ({**MULTI, "graders": {"c": CHECK, "p": {**PYTHON, "source": ""}}}, "graders.p.source", "grade"),
        ({**MULTI, "graders": {"a b": CHECK}}, "graders.a b", "letters"),
        ({**MULTI, "graders": {"min": CHECK}}, "graders.min", "formula"),
        ({**MULTI, "calculate_output": "c + q"}, "calculate_output", "unknown name 'q'"),
        ({**MULTI, "calculate_output": "c +"}, "calculate_output", "expected"),
        ({**MULTI, "calculate_output": "c.__class__"}, "calculate_output", "unexpected '.'"),
    ],
)
def test_a_bad_definition_names_its_field(raw: Any, param: str, words: str) -> None:
    with pytest.raises(GraderInvalid) as raised:
        validate(raw)
    assert raised.value.param == param
    assert words in raised.value.message


def test_a_job_with_an_unchecked_grader_is_refused_before_it_grades() -> None:
    unchecked = StringCheckGrader(input="{{env.HOME}}", reference="", operation="eq")
    with pytest.raises(GraderInvalid, match=r"input: .*'env'"), open_grader(unchecked):
        pass


def test_validating_never_runs_the_source(tmp_path: Any) -> None:
    mark = tmp_path / "mark"
    source = f"open({str(mark)!r}, 'w')\ndef grade(sample, item, x=open({str(mark)!r}, 'w')): return 1"
    validate({"type": "python", "source": source})
    assert not mark.exists()


@pytest.mark.parametrize(
    ("source", "line", "column", "words"),
    [
        ("def grade(sample, item):\n    return (1\n", 2, 12, "never closed"),
        ("def grade(sample, item):\nreturn 1", 2, 1, "indented block"),
        ("x = 1\n\ndef grade(sample):\n    return 1", 3, 1, "two arguments"),
        ("def grade(sample, item, more): pass", 1, 1, "two arguments"),
        ("def grade(sample, item, *, more): pass", 1, 1, "two arguments"),
        ("async def grade(sample, item): pass", 1, 1, "async"),
        ("class A:\n    def grade(self, item): pass", 1, 1, "no function grade"),
        ("\0", 1, 1, "null bytes"),
        ("(" * 100_000, 1, 201, "nested"),
        ("-" * 100_000 + "1", 1, 1, "nested too deeply"),
        ("#" * MAX_PYTHON_SOURCE_BYTES, 1, 1, "limit is 256000"),
        ("\ud800", 1, 1, "parsed"),
        ("f'" + "{x}" * 80_000 + "'", 1, 1, "f-strings"),
    ],
)
def test_the_editor_is_told_where_a_problem_is(source: str, line: int, column: int, words: str) -> None:
    (problem,) = python_problems(source)
    assert (problem["line"], problem["column"]) == (line, column)
    assert words in problem["message"]


@pytest.mark.parametrize(
    "source",
    [
        "def grade(sample, item): return 1",
        "def grade(*args): return 1",
        "def grade(sample, item, strict=True, *, more=1): return 1",
        "grade = lambda sample, item: 1",
        "def grade(a): pass\ndef grade(a, b): return 1",
        "ROWS = [" + '{"a": 1}, ' * 20_000 + "]\ndef grade(a, b): return 1",
        "def grade(a, b): return 1 if f'{a}{b}' else 0\n#" + "x" * 250_000,
    ],
)
def test_what_can_grade_has_no_problem(source: str) -> None:
    assert python_problems(source) == []


def documented() -> list[dict[str, Any]]:
    """The definitions that docs/graders.md shows, but for those that stand for something to fill in."""
    text = (Path(__file__).resolve().parents[3] / "docs/graders.md").read_text()
    found: list[dict[str, Any]] = []
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL):
        shown = re.sub(r"^.*….*$", "", block, flags=re.MULTILINE).strip()
        while shown:
            value, end = json.JSONDecoder().raw_decode(shown)
            found.append(value)
            shown = shown[end:].strip()
    return found


def test_every_type_of_the_contract_has_a_kind_with_texts_form_and_valid_example() -> None:
    schema: dict[str, Any] = TypeAdapter(Grader).json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(KINDS)
    for kind in KINDS.values():
        assert kind.label
        assert kind.explanation
        assert {field.key for field in kind.fields} <= set(kind.definition.model_fields)
        assert validate(kind.example).type == kind.type


def test_every_definition_in_the_documentation_is_accepted() -> None:
    shown = [validate(raw).type for raw in documented()]
    assert set(shown) == {*KINDS} - {"multi"}


@pytest.mark.parametrize(
    ("schema", "param", "words"),
    [
        ({"type": "object", "requierd": ["a"]}, "json_schema.requierd", "'required'"),
        ({"type": "object", "propertys": {}}, "json_schema.propertys", "'properties'"),
        ({"properties": {"a": {"minlenght": 3}}}, "json_schema.properties.a.minlenght", "'minLength'"),
        ({"anyOf": [{"Type": "string"}]}, "json_schema.anyOf.0.Type", "'type'"),
        ({"title": "nothing is asked"}, "json_schema", "allows every JSON value"),
        ({"type": "string", "pattern": "("}, "json_schema.pattern", "regex"),
    ],
)
def test_a_schema_that_would_fail_open_is_refused(schema: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(GraderInvalid) as refused:
        validate({"type": "json_schema", "json_schema": schema})
    assert refused.value.param == param
    assert words in refused.value.message


def test_names_of_fields_are_no_keywords() -> None:
    schema = {"type": "object", "properties": {"requierd": {"type": "string"}}, "x-origin": "a form"}
    assert validate({"type": "json_schema", "json_schema": schema})
