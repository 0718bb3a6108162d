"""Parsing of pasted text: the position of every field is found, and nonsense is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.web.graders.test_graders import SignIn
from webapp.graders.definitions.parsing import TextInvalid, find_item_fields, find_problems, read_json
from webapp.graders.definitions.positions import find_position
from webapp.graders.models import Grader
from webapp.teams.models import Team, User
from workers.grading import KINDS

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = st.none() | st.booleans() | st.integers() | keys
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


def paths(value: Any) -> list[list[str | int]]:
    """Return every path into a document."""
    found: list[list[str | int]] = []
    for step, inner in _steps(value):
        found += [[step], *([step, *rest] for rest in paths(inner))]
    return found


def _steps(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


@given(st.dictionaries(keys, documents, max_size=3), st.sampled_from([None, 1, 4]), st.data())
def test_every_field_is_found_where_it_stands(document: Any, indent: int | None, data: st.DataObject) -> None:
    """Unless keys with dots make the path read as another one."""
    ways = [way for way in paths(document) if not any("." in str(step) or step == "" for step in way)]
    if not ways:
        return
    way, text = data.draw(st.sampled_from(ways)), json.dumps(document, indent=indent)
    place = find_position(text, ".".join(map(str, way)))
    there = text.split("\n")[place.line - 1][place.column - 1 :]
    value: Any = document
    for step in way:
        value = value[step]
    shown = json.dumps(way[-1]) + ":" if isinstance(way[-1], str) else json.dumps(value)[:1]
    assert there.startswith(shown)


@given(st.text(max_size=60) | documents.map(json.dumps))
def test_nonsense_is_refused_with_a_place_in_the_text(text: str) -> None:
    for problem in find_problems(text):
        assert 1 <= problem["line"] <= text.count("\n") + 1
        assert 1 <= problem["column"] <= len(text) + 1
    with suppress(TextInvalid):
        read_json(text)


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_grader_with_any_one_value_changed_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    definition = deepcopy(KINDS[kind].example)
    way = data.draw(st.sampled_from(paths(definition)))
    holder: Any = definition
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = data.draw(documents)
    text = json.dumps(definition, indent=1)
    refused = find_problems(text)
    assert all(problem["message"] for problem in refused)
    if not refused:
        assert read_json(text).definition == definition
        assert all(isinstance(name, str) for name in find_item_fields(definition))


@pytest.mark.parametrize("strange", ["\\ud800", "\\u0000"])
def test_characters_that_no_page_or_table_can_hold_break_nothing(
    strange: str, team: Team, alice: User, as_user: SignIn
) -> None:
    text = json.dumps(KINDS["string_check"].example).replace('"exact"', f'"ex{strange}act"')
    client: Client = as_user(alice)
    answer = client.post(f"/t/{team.slug}/graders/import/", {"definition": text}, follow=True)
    assert answer.status_code == 422
    assert not Grader.objects.exists()
