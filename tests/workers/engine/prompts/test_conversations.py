"""Conversations of every source become one form, and a rewrite for a template loses no text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.prompts.conversations import (
    PARAGRAPH,
    Rewrite,
    content_text,
    fold_systems,
    is_prefill,
    remove_nulls,
    rewrite_messages,
    tidy_messages,
    tidy_tools,
    tool_names,
)

ARGUMENTS = {"city": "Köln"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}


@pytest.mark.parametrize(
    "call",
    [
        CALL,
        CALL | {"function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}},
        {"id": "c1", "name": "weather", "arguments": ARGUMENTS},
        {"id": "c1", "name": "weather", "arguments": json.dumps(ARGUMENTS), "function": None},
        CALL | {"function": {"name": "weather", "arguments": {"city": "Köln", "unit": None}}},
    ],
)
def test_a_tool_call_has_one_form_whoever_wrote_it(call: dict[str, Any]) -> None:
    (message,) = tidy_messages([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert message == {"role": "assistant", "tool_calls": [CALL]}


@pytest.mark.parametrize("arguments", ["not JSON", "[1]", "3", ""])
def test_arguments_that_are_no_object_stay_as_they_are(arguments: str) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    (message,) = tidy_messages([{"role": "assistant", "tool_calls": [call]}])
    assert message["tool_calls"][0]["function"]["arguments"] == arguments
    (written,) = rewrite_messages([message], Rewrite(arguments="text"))
    assert written["tool_calls"][0]["function"]["arguments"] == arguments


def test_the_result_of_a_tool_is_named_by_its_call() -> None:
    calls = {"role": "assistant", "tool_calls": [CALL]}
    results = [
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "other", "content": "rain"},
        {"role": "tool", "tool_call_id": "c1", "name": "own", "content": "fog"},
    ]
    assert [each.get("name") for each in tidy_messages([calls, *results])[1:]] == ["weather", None, "own"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "a"}, "b", {"type": "text", "text": "c"}], "abc"),
        ([{"type": "image"}], ""),
        ([], ""),
        ({"a": "é"}, '{"a": "é"}'),
        (3, "3"),
    ],
)
def test_a_content_is_a_text(content: Any, text: str) -> None:
    assert content_text(content) == text


NESTED = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=2), each, max_size=3),
    max_leaves=8,
)


@given(NESTED)
def test_nulls_vanish_from_objects_at_every_depth_and_stay_in_lists(value: Any) -> None:
    """In a list a null is a value: its neighbours would move."""
    found = remove_nulls(value)
    assert None not in _list_fields(found)
    if isinstance(value, list):
        assert len(found) == len(value)
    assert remove_nulls(found) == found


def _list_fields(value: Any) -> list[bool | None]:
    """Whether each field of each object is present; None for a null."""
    if isinstance(value, dict):
        return [None if part is None else True for part in value.values()] + [
            each for part in value.values() for each in _list_fields(part)
        ]
    return [each for part in value for each in _list_fields(part)] if isinstance(value, list) else []


def test_tools_are_nested_whichever_way_they_came() -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    nested = {"type": "function", "function": function}
    for tool in (nested, {"function": function}, function, {"type": "function", **function}):
        assert tidy_tools([tool]) == [nested]
    assert tool_names(tidy_tools([nested, {"type": "code_interpreter"}])) == ["f"]


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text("ab", min_size=1)}
    ),
    min_size=1,
    max_size=6,
)


@given(MESSAGES, st.sampled_from(["none", "later", "all"]))
def test_folding_keeps_every_text_in_its_order_per_turn(messages: list[dict[str, str]], which: Any) -> None:
    folded = fold_systems(messages, which)
    systems = [index for index, message in enumerate(folded) if message["role"] == "system"]
    if which == "all":
        assert systems == []
    elif which == "later":
        assert systems in ([], [0])
    else:
        assert folded == messages
    for role in ("assistant", "user"):
        kept = [m["content"] for m in messages if m["role"] == role]
        texts = PARAGRAPH.join(m["content"] for m in folded if m["role"] == role)
        assert all(text in texts for text in kept)
    parts = sorted(part for m in folded for part in m["content"].split(PARAGRAPH))
    assert parts == sorted(m["content"] for m in messages)


def test_system_messages_move_into_the_next_user_message() -> None:
    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    talk = [turn("system", "A"), turn("user", "B"), turn("system", "C"), turn("assistant", "D")]
    whole = [*talk, turn("system", "E"), turn("user", "F")]
    assert [m["content"] for m in fold_systems(whole, "all")] == ["A\n\nB", "D", "C\n\nE\n\nF"]
    assert [m["content"] for m in fold_systems(whole, "later")] == ["A", "B", "D", "C\n\nE\n\nF"]
    assert fold_systems(talk[2:3], "all") == [turn("user", "C")]


def test_a_template_that_reads_every_content_gets_an_empty_one() -> None:
    calls = tidy_messages([{"role": "assistant", "tool_calls": [CALL]}])
    (message,) = rewrite_messages(calls, Rewrite(arguments="text", empty_content=True))
    assert message["content"] == ""
    assert message["tool_calls"][0]["function"]["arguments"] == '{"city": "Köln"}'
    assert calls[0]["tool_calls"] == [CALL], "the rewrite changes a copy"


@pytest.mark.parametrize(
    ("last", "prefill"),
    [
        ({"role": "assistant", "content": "It is"}, True),
        ({"role": "assistant", "content": ""}, False),
        ({"role": "assistant", "content": "x", "tool_calls": [CALL]}, False),
        ({"role": "assistant", "tool_calls": [CALL]}, False),
        ({"role": "user", "content": "x"}, False),
    ],
)
def test_only_a_last_text_of_the_assistant_is_continued(last: dict[str, Any], prefill: bool) -> None:
    assert is_prefill([{"role": "user", "content": "q"}, last]) is prefill
