"""Graders see a completion under OpenAI's names, and JSON only where the whole text is JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.environments import EpisodeRecord, ToolCall, Turn
from workers.grading import open_grader
from workers.grading.definition import validate
from workers.grading.results import (
    GradeResult,
    GradingFault,
    Subject,
    add_usage,
    join_explanations,
    one_by_one,
)
from workers.grading.sample import (
    MAX_NESTING,
    SAMPLE_FIELDS,
    Completion,
    as_json,
    nested_too_deeply,
    parse_json,
    sample_fields,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_json_in_a_completion_is_its_value(value: Any) -> None:
    assert sample_fields(json.dumps(value))["output_json"] == value


@pytest.mark.parametrize("text", ["", "yes", "{} yes", "NaN", "[Infinity]", "-Infinity", "{'a': 1}", "[1,]"])
def test_a_text_that_is_not_json_has_none(text: str) -> None:
    fields = sample_fields(text)
    assert (fields["output_json"], fields["output_text"]) == (None, text)
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


def test_the_fields_are_those_that_templates_know_and_thoughts_are_apart() -> None:
    fields = sample_fields(Completion("4", reasoning="2 + 2"))
    assert tuple(fields) == SAMPLE_FIELDS
    assert (fields["output_text"], fields["reasoning"], fields["output_tools"]) == ("4", "2 + 2", [])
    assert fields["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "4"}}
    ]
    assert sample_fields(["4", "2 + 2"]) == fields
    assert sample_fields("4")["reasoning"] == ""


@pytest.mark.parametrize(("depth", "fits"), [(MAX_NESTING, True), (MAX_NESTING + 1, False), (100_000, False)])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_json_is_nested_a_hundred_levels_at_most(depth: int, fits: bool, begin: str, end: str) -> None:
    inner = "1" if begin != "[" else ""
    text = begin * depth + inner + end * depth
    if fits:
        assert not nested_too_deeply(parse_json(text))
    else:
        with pytest.raises(ValueError, match="100 levels"):
            parse_json(text)


def test_brackets_in_a_text_are_no_nesting() -> None:
    assert parse_json(json.dumps(["[" * 1000])) == ["[" * 1000]
    assert parse_json(json.dumps([[]] * 1000)) == [[]] * 1000


def test_one_completion_s_error_is_its_own() -> None:
    def score(subject: Subject) -> float | tuple[float, str]:
        match subject.text:
            case "sample":
                raise GradingFault("sample_parse_error", "not JSON", of_sample=True)
            case "grader":
                raise GradingFault("invalid_variable_error", "no field")
            case "bug":
                raise KeyError("x")
            case "said":
                return 0.5, "half right"
        return 1.0

    texts = ["sample", "grader", "bug", "said", "plain"]
    results = one_by_one(score)([Subject(text, {}) for text in texts])
    assert [result.reward for result in results] == [0.0, None, None, 0.5, 1.0]
    assert [result.error_class for result in results] == [
        "sample_parse_error", "invalid_variable_error", "other_error", None, None,
    ]  # fmt: skip
    assert results[2].error_detail == "KeyError: 'x'"
    assert results[3].explanation == "half right"
    assert all(result.seconds >= 0 for result in results)


USAGE = st.fixed_dictionaries(
    {name: st.integers(0, 10**6) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
)


@given(st.lists(USAGE, max_size=4))
def test_tokens_of_several_calls_add_up(used: list[dict[str, int]]) -> None:
    whole = [each | {"total_tokens": sum(each.values()), "cost": 0.25} for each in used]
    total = add_usage(whole)  # type: ignore[arg-type]
    assert total["cost"] == 0.25 * len(used)
    assert total["total_tokens"] == (
        total["prompt_tokens"] + total["completion_tokens"] + total["cached_tokens"]
    )


def test_reasons_of_parts_carry_the_part_s_name_and_silent_parts_are_left_out() -> None:
    parts = {"one": GradeResult(1.0, explanation="good"), "two": GradeResult(0.0)}
    assert (
        join_explanations(parts | {"three": GradeResult(0.0, explanation="bad")}) == "one: good\nthree: bad"
    )


# --- episodes ------------------------------------------------------------------------------------

EPISODE = EpisodeRecord(
    turns=[
        Turn(role="assistant", content="", tool_calls=[ToolCall(name="get", arguments={"id": 7})], tokens=9),
        Turn(role="tool", tool="get", content="found", seconds=0.1),
        Turn(role="assistant", content="done", reasoning="it is there"),
    ],
    end="answered",
    reward=0.5,
    feedback="half of it",
)
PLAYED = Completion(EPISODE.transcript(), "it is there", EPISODE)


def test_of_an_episode_graders_see_the_last_text_all_calls_and_the_turns() -> None:
    fields = sample_fields(PLAYED)
    assert (fields["output_text"], fields["reasoning"]) == ("done", "it is there")
    call = {"type": "function", "function": {"name": "get", "arguments": '{"id": 7}'}}
    assert fields["output_tools"] == [call]
    turns: Any = fields["turns"]
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("assistant", ""), ("tool", "found"), ("assistant", "done"),
    ]  # fmt: skip
    assert sample_fields(json.loads(json.dumps(as_json(PLAYED)))) == fields


def test_an_environments_reward_combines_with_graders_over_the_transcript() -> None:
    """The Python part reads the turns inside the sandbox."""
    source = "def grade(sample, item):\n    return float(sample['turns'][1]['content'] == 'found')"
    graders = {
        "outcome": {"type": "environment"},
        "reads": {"type": "python", "source": source},
        "calls": {
            "type": "string_check",
            "operation": "eq",
            "input": "{{sample.output_tools[0].function.name}} {{sample.turns[2].content}}",
            "reference": "get done",
        },
    }
    formula = "outcome + reads + calls"
    with open_grader(validate({"type": "multi", "graders": graders, "calculate_output": formula})) as grade:
        [result] = grade([(PLAYED, {})])
    assert (result.reward, result.sub_rewards) == (2.5, {"outcome": 0.5, "reads": 1.0, "calls": 1.0})
    assert "half of it" in result.explanation


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("text", "not played"),
        (Completion("", episode=EPISODE.model_copy(update={"reward": None})), "no reward"),
        (Completion("", episode=EPISODE.model_copy(update={"reward": None, "end": "session_lost"})), "lost"),
    ],
)
def test_without_an_environments_reward_it_is_missing_and_never_0(completion: str, reason: str) -> None:
    with open_grader(validate({"type": "environment"})) as grade:
        [result] = grade([(completion, {})])
    assert result.reward is None
    assert reason in (result.error_detail or "")
