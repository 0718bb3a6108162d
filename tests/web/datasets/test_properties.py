"""Rules of datasets that hold for any rows: splits, differences, profiles, previews, rendered prompts."""

from __future__ import annotations

import json
from collections import Counter
from statistics import fmean
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import HealthCheck, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from tests.web.datasets.test_datasets import upload_file
from webapp.datasets.content.field_profile import MOST_VALUES, FieldCounter
from webapp.datasets.content.problems import cut_excerpt
from webapp.datasets.content.rows import Columns, Split, build_row
from webapp.datasets.content.turns import parse_prompt
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.preview import build_preview
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.datasets.versions.differences import compare_versions
from webapp.datasets.versions.splits import Shares, open_index
from webapp.teams.models import Team, User

SHARES = st.tuples(st.integers(0, 50), st.integers(0, 50)).filter(lambda pair: sum(pair) <= 90)


# --- splits ------------------------------------------------------------------------------------------


@given(SHARES, st.integers(1, 999))
def test_few_prompts_leave_some_to_train_on_and_some_in_each_split(
    shares: tuple[int, int], prompts: int
) -> None:
    held_out = Shares(*shares).count_prompts(prompts)
    assert sum(held_out.values()) < prompts
    for split, share in zip((Split.VALIDATION, Split.TEST), shares, strict=True):
        assert (held_out[split] == 0) == (share == 0 or (prompts < 5 and prompts * share < 100))
        assert held_out[split] >= prompts * share // 100


@given(SHARES, st.binary(min_size=16, max_size=16))
def test_a_larger_test_split_never_gives_a_test_prompt_back(shares: tuple[int, int], prompt: bytes) -> None:
    """Whoever raises the share later keeps what was sealed."""
    validation, test = shares
    if Shares(validation, test).choose_split(prompt) is Split.TEST:
        assert Shares(validation, test + 1).choose_split(prompt) is Split.TEST


STATED = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["train", "validation", "test"])), min_size=1)


@given(STATED)
def test_after_dropping_overlap_each_prompt_is_only_where_it_is_held_out_longest(
    stated: list[tuple[int, str]],
) -> None:
    rows = [
        build_row({"prompt": f"p {number}", "split": split}, Columns(prompt="prompt"))
        for number, split in stated
    ]
    longest = {number: max(Split[s.upper()] for n, s in stated if n == number) for number, _ in stated}
    with open_index(Shares()) as index:
        copies = sum(index.add(row, line) is not None for line, row in enumerate(rows, start=1))
        index.finish()
        overlap, before = index.find_overlap(), index.count_rows()
        dropped = index.drop_overlap()
        after = index.count_rows()
    assert copies == len(stated) - len(set(stated))
    assert dropped == overlap["rows"] == sum(before.values()) - sum(after.values())
    assert after == {split.label: sum(own is split for own in longest.values()) for split in Split}, (
        "one row of each prompt is left, in its last split"
    )


# --- differences between versions --------------------------------------------------------------------

ROWS = st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 2), st.booleans()), min_size=1)


def commit(team: Team, alice: User, rows: dict[int, tuple[int, bool]], older: DatasetVersion | None) -> Any:
    """A version with a row for each prompt: its label, and whether it is held out for validation."""
    lines = [
        {"prompt": f"p {number}", "label": label, "split": "validation" if held_out else "train"}
        for number, (label, held_out) in rows.items()
    ] + [{"prompt": "always", "split": "train"}]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    if older is None:
        return commit_upload(upload_file(team, alice, data), alice, Choices())[0]
    file = SimpleUploadedFile("data.jsonl", data)
    return commit_upload(receive_file(team, alice, "", file, Options(), older.dataset), alice, Choices())[0]


@drawn(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ROWS)
def test_every_row_of_two_versions_is_counted_once(
    team: Team, alice: User, before: dict[int, tuple[int, bool]], after: dict[int, tuple[int, bool]]
) -> None:
    """The field ``split`` is a part of a row, so a row in another split is a changed one."""
    older = commit(team, alice, before, None)
    newer = commit(team, alice, after, older)
    found = compare_versions(older, newer)
    both = before.keys() & after.keys()
    same = sum(before[number] == after[number] for number in both)
    assert found.same == 1 + same
    assert len(found.changed) == len(both) - same
    assert (len(found.added), len(found.removed)) == (len(after) - len(both), len(before) - len(both))
    assert len(found.moved) == 0


# --- profiles and previews ---------------------------------------------------------------------------

VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["red", "blue", ""])


@given(st.lists(VALUES, max_size=60))
def test_the_profile_of_a_field_counts_each_value(values: list[Any]) -> None:
    counter = FieldCounter()
    for value in values:
        counter.add(value)
    report = counter.as_json("field")
    known = [value for value in values if value is not None]
    numbers = [value for value in known if type(value) is int]
    assert report["present"] == len(known)
    assert sum(report["types"].values()) == len(values)
    assert dict(report["values"] or []) == Counter(map(str, known))
    if numbers:
        spread = report["numbers"]
        assert spread
        assert (spread["min"], spread["max"]) == (min(numbers), max(numbers))
        assert spread["mean"] == pytest.approx(fmean(numbers), abs=0.0005)
    else:
        assert report["numbers"] is None


@pytest.mark.parametrize("value", [list(range(3)), {"a": 1}, "x" * 61])
def test_values_that_are_no_categories_are_not_listed(value: Any) -> None:
    counter = FieldCounter()
    counter.add("red")
    counter.add(value)
    assert counter.as_json("field")["values"] is None


def test_more_values_than_a_chart_shows_are_not_listed() -> None:
    counter = FieldCounter()
    for number in range(MOST_VALUES):
        counter.add(f"value {number}")
    assert len(counter.as_json("field")["values"] or []) == MOST_VALUES
    counter.add("one more")
    counter.add("value 1")
    assert counter.as_json("field")["values"] is None


def test_a_preview_shows_the_end_of_a_long_conversation_and_the_start_of_long_texts() -> None:
    messages = [{"role": "user", "content": f"turn {number}"} for number in range(10)]
    messages[-1]["content"] = "x" * 2001
    item = {f"field {number}": "y" * 501 for number in range(41)} | {"list": list(range(400))}
    found = build_preview(7, {"row_id": "r", "messages": messages, "item": item})  # type: ignore[typeddict-item]
    assert (found["number"], found["count"], found["hidden"]) == (7, 10, 4)
    assert found["messages"][0]["content"] == "turn 4"
    assert found["messages"][-1]["content"] == "x" * 2000 + "…"
    assert len(found["item"]) == 40
    assert found["item"]["field 0"] == "y" * 500 + "…"


@given(st.text(max_size=400), st.integers(0, 400))
def test_an_excerpt_is_short_printable_and_has_what_is_wrong(text: str, at: int) -> None:
    shown = cut_excerpt(text, at)
    assert all(char.isprintable() for char in shown)
    if at < len(text.rstrip()) and text[at].isprintable():
        assert text[at] in shown


# --- rendered prompts --------------------------------------------------------------------------------

TURNS = st.lists(
    st.tuples(
        st.sampled_from(["system", "user", "assistant"]),
        st.from_regex(r"[a-z0-9]{1,8}( [a-z]{1,5})?", fullmatch=True),
    ),
    min_size=1,
    max_size=5,
)
FORMS = {
    "ChatML": "<|im_start|>{role}\n{text}<|im_end|>\n",
    "Llama": "<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>",
    "Phi": "<|{role}|>\n{text}<|end|>\n",
}


@pytest.mark.parametrize("form", FORMS)
@given(turns=TURNS)
def test_a_rendered_prompt_is_read_back_by_role(form: str, turns: list[tuple[str, str]]) -> None:
    prompt = "".join(FORMS[form].format(role=role, text=text) for role, text in turns)
    joined: list[tuple[str, str]] = []
    for role, text in turns:  # neighbours of one role are shown as one turn
        if joined and joined[-1][0] == role:
            joined[-1] = (role, f"{joined[-1][1]}\n{text}")
        else:
            joined.append((role, text))
    assert [(turn.role, turn.text) for turn in parse_prompt(prompt)] == joined


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_a_prompt_or_is_lost(prompt: str) -> None:
    shown = "".join("".join(turn.text.split()) for turn in parse_prompt(prompt))
    if "<" not in prompt and "[" not in prompt:
        assert shown == "".join(prompt.split())
