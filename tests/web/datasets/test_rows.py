"""Rows are read strictly, identified by their content, and split with equal prompts together."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.datasets.content.problems import FileError, RowError
from webapp.datasets.content.rows import Columns, Row, Split, build_row
from webapp.datasets.formats import detect_format, read_rows
from webapp.datasets.uploads.validation import Options, Tally, check_file, fill_index, read_kept_rows
from webapp.datasets.versions.splits import Shares, open_index

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
PROMPTS = TEXT.filter(str.strip)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = TEXT.filter(lambda name: name not in {"messages", "tools", "split"})


def line(prompt: str, **item: Any) -> str:
    return json.dumps({"messages": [{"role": "user", "content": prompt}], **item}) + "\n"


def only(text: str | bytes, kind: str = "jsonl", columns: Columns | None = None) -> Row | RowError:
    file = io.BytesIO(text.encode() if isinstance(text, str) else text)
    ((_, found),) = read_rows(kind, file, columns)
    return found


def split_up(
    lines: list[str], earlier: dict[bytes, Split] | None = None, **options: int
) -> dict[Split, list[Row]]:
    """The rows of each split, as a version would hold them."""
    file, chosen = io.BytesIO("".join(lines).encode()), Options(**options)
    with open_index(chosen.shares, earlier) as index:
        fill_index(index, Tally(), file, "jsonl", chosen)
        index.finish()
        file.seek(0)
        found: dict[Split, list[Row]] = {split: [] for split in Split}
        for split, row in read_kept_rows(file, "jsonl", chosen, index):
            found[split].append(row)
        return found


@given(prompt=PROMPTS, item=st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_json_is_stored_unchanged(prompt: str, item: dict[str, Any]) -> None:
    row = only(json.dumps({"messages": [{"role": "user", "content": prompt}], **item}))
    assert isinstance(row, Row)
    stored = json.loads(row.encode_line())
    assert stored == {"row_id": row.row_id, "messages": [{"role": "user", "content": prompt}], "item": item}


@given(prompt=PROMPTS, item=st.dictionaries(NAMES, VALUES, max_size=4))
def test_the_id_depends_on_content_not_on_how_it_is_written(prompt: str, item: dict[str, Any]) -> None:
    message = {"role": "user", "content": prompt}
    one = only(json.dumps({"messages": [message], **item}))
    other = only(
        json.dumps({**dict(reversed(item.items())), "messages": [message]}, ensure_ascii=False, indent=None)
    )
    assert isinstance(one, Row)
    assert isinstance(other, Row)
    assert one.row_id == other.row_id
    assert len(one.row_id) == 32


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """Any input gives rows, row errors, or one file error."""
    for kind in ("jsonl", "csv"):
        with suppress(FileError):
            for number, found in read_rows(kind, io.BytesIO(data), None):
                assert number >= 1
                assert isinstance(found, Row | RowError)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"messages": ', "cut off"),
        ('{"messages" []}\n', "Invalid JSON"),
        ('["a"]\n', "an array, not an object"),
        ('{"label": 1}\n', "no messages"),
        ('{"messages": []}\n', "messages is empty"),
        ('{"messages": "hello"}\n', "messages is not a list"),
        ('{"messages": [{"role": "robot", "content": "x"}]}\n', "role 'robot'"),
        ('{"messages": [{"role": ["user"], "content": "x"}]}\n', "role"),
        ('{"messages": [{"role": "user", "content": 3}]}\n', "not text"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}\n', "part that is not text"),
        ('{"messages": [{"role": "user", "content": "  "}]}\n', "prompt is empty"),
        ('{"messages": [{"role": "system", "content": "x"}]}\n', "number 1, has the role 'system'"),
        (line("x", a=float("nan")), "NaN"),
        (line("x", a=float("inf")), "Infinity"),
        (line("x", a=1).replace(": 1}", ": 1e999}"), "NaN or infinite"),
        ('{"messages": [{"role": "user", "content": "x"}], "a": 1, "a": 2}\n', "'a' appears twice"),
        (line("x", a="\0"), "NUL"),
        (line("x", a="\ud800"), "surrogate"),
        (line("x", a=1).replace(": 1}", ": " + "9" * 5000 + "}"), "too many digits"),
        (line("x", a="b").replace('"b"', "[" * 100 + "]" * 100), "nested"),
        (line("x", a="b").replace('"b"', "[" * 5000 + "]" * 5000), "nested"),
        (line("x", **{"n" * 300: 1}), "name is longer"),
        (line("x", **{str(number): 1 for number in range(300)}), "300 fields"),
        (line("x", split="dev"), "split is 'dev'"),
        (line("x", tools="hammer"), "tools"),
        (line("x" * (4 * 2**20)), "longer than"),
        (b'{"messages": "\xff"}\n', "not UTF-8"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason_and_a_remedy(text: str | bytes, reason: str) -> None:
    found = only(text)
    assert isinstance(found, RowError)
    assert reason in found.reason
    assert found.remedy


def test_a_row_of_an_sft_file_is_refused_with_the_command_that_makes_it_usable() -> None:
    """OpenAI's service refuses it too: the last message of its RFT files is the user's."""
    ask, reply = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
    text = json.dumps({"messages": [ask, reply], "label": 1})
    found = only(text)
    assert isinstance(found, RowError)
    assert found.reason == (
        "The last message, number 2, has the role 'assistant'; a prompt ends with a user message."
    )
    program = re.search(r"jq -c '(.+)' data.jsonl > rows.jsonl", found.remedy)
    assert program
    if not (jq := shutil.which("jq")):
        pytest.skip("jq is not installed")
    done = subprocess.run([jq, "-c", program[1]], input=text, capture_output=True, text=True, check=True)
    row = only(done.stdout)
    assert isinstance(row, Row)
    assert (row.messages, row.item) == ([ask], {"label": 1, "reference": "y"})


def test_a_json_row_may_keep_its_prompt_in_a_field_of_its_own() -> None:
    row = only('{"ask": "What?", "label": 1}\n', columns=Columns(prompt="ask"))
    assert isinstance(row, Row)
    assert (row.messages, row.item) == ([{"role": "user", "content": "What?"}], {"label": 1})
    missing = only('{"label": 1}\n', columns=Columns(prompt="ask"))
    assert isinstance(missing, RowError)
    assert "'ask'" in missing.reason


def test_a_bad_line_does_not_harm_its_neighbours() -> None:
    file = io.BytesIO((line("one") + "{\n\n" + "x" * (9 * 2**20) + "\n" + line("two")).encode())
    found = list(read_rows("jsonl", file, None))
    assert [number for number, _ in found] == [1, 2, 4, 5]
    assert [isinstance(row, Row) for _, row in found] == [True, False, False, True]


@pytest.mark.parametrize(
    ("head", "name", "reason"),
    [
        (b"", "a.jsonl", "empty"),
        (b"\x1f\x8b\x08", "a.jsonl.gz", "gzip"),
        (b"PK\x03\x04", "a.xlsx", "zip"),
        (b"\xff\xfea\0", "a.csv", "UTF-16"),
        (b"ab\0\x01\x02", "a.csv", "binary"),
        (b'[{"messages": []}]', "a.json", "JSON array"),
        (b"hello", "a.txt", "Unsupported file type"),
        (b"hello", "a.parquet", "does not begin like"),
    ],
)
def test_a_file_of_another_format_is_refused_by_name(head: bytes, name: str, reason: str) -> None:
    with pytest.raises(FileError) as error:
        detect_format(head, name)
    assert reason in error.value.reason
    assert error.value.remedy


def test_csv_cells_become_fields_and_quoted_line_breaks_survive() -> None:
    row = only('\ufeffprompt;answer\r\n"two\nlines; and a semicolon";"say ""yes"""\r\n', "csv")
    assert isinstance(row, Row)
    assert row.messages == [{"role": "user", "content": "two\nlines; and a semicolon"}]
    assert row.item == {"answer": 'say "yes"'}


def test_csv_may_hold_messages_as_json() -> None:
    row = only('chat,k\n"[{""role"": ""user"", ""content"": ""hi""}]",1\n', "csv", Columns(messages="chat"))
    assert isinstance(row, Row)
    assert row.messages[0]["content"] == "hi"
    assert row.item == {"k": "1"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,score\n1,2\n", "The prompt column was not recognized"),
        ("prompt,prompt\na,b\n", "names a column twice"),
        ("prompt,\na,b\n", "without a name"),
        ('prompt,a\n"open,1\n', "cannot be read past"),
        ("prompt\n" + '"' + "x" * (5 * 2**20) + '"\n', "longer than"),
        (b"prompt\ncaf\xe9\n", "not UTF-8"),
    ],
)
def test_a_broken_csv_is_refused_with_its_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(FileError) as error:
        only(text, "csv")
    assert reason in error.value.reason


def test_a_csv_row_with_too_few_cells_is_one_bad_row() -> None:
    found = list(read_rows("csv", io.BytesIO(b"prompt,a\nx\ny,1\n"), None))
    assert isinstance(found[0][1], RowError)
    assert "1 cells; the header has 2" in found[0][1].reason
    assert isinstance(found[1][1], Row)


@given(st.lists(PROMPTS, min_size=1, max_size=60))
def test_splits_cover_every_prompt_once_and_do_not_change(prompts: list[str]) -> None:
    lines = [line(prompt, place=place) for place, prompt in enumerate(prompts)]
    found = split_up(lines)
    ids = [row.row_id for rows in found.values() for row in rows]
    assert len(ids) == len(set(ids)) == len(prompts)
    digests = [{row.prompt_digest for row in rows} for rows in found.values()]
    assert sum(map(len, digests)) == len(set().union(*digests))
    again = split_up(lines[::-1])
    assert {s: {r.row_id for r in rows} for s, rows in found.items()} == {
        s: {r.row_id for r in rows} for s, rows in again.items()
    }


@given(st.sets(st.integers(0, 10**6), min_size=10, max_size=14))
def test_ten_prompts_are_enough_for_three_splits(numbers: set[int]) -> None:
    found = split_up([line(f"prompt {number}") for number in numbers])
    assert all(found.values())


def test_prompts_that_differ_in_case_or_space_stay_together() -> None:
    one, other = only(line("Pay  the BILL ")), only(line("pay the bill"))
    assert isinstance(one, Row)
    assert isinstance(other, Row)
    assert one.row_id != other.row_id
    assert one.prompt_digest == other.prompt_digest


def test_shares_are_kept_on_many_prompts() -> None:
    shares = Shares(validation=20, test=5)
    rows = [build_row({"messages": [{"role": "user", "content": str(n)}]}, Columns()) for n in range(4000)]
    counts = [sum(shares.choose_split(row.prompt_digest) == split for row in rows) for split in Split]
    assert counts == pytest.approx([3000, 800, 200], rel=0.2)


def test_a_growing_dataset_never_moves_a_prompt_to_another_split() -> None:
    rows = [line(f"prompt {number}") for number in range(300)]
    small = split_up(rows[:200])
    earlier = {row.prompt_digest: split for split in Split for row in small[split]}
    large = split_up(rows, earlier)
    for split in Split:
        assert {row.row_id for row in small[split]} <= {row.row_id for row in large[split]}
    assert [len(large[split]) for split in Split] == [240, 30, 30]


@pytest.mark.parametrize(
    ("rows", "shares", "counts"),
    [
        (255, {}, (205, 25, 25)),
        (999, {}, (801, 99, 99)),
        (40, {}, (24, 8, 8)),
        (5, {}, (3, 1, 1)),
        (3, {}, (3, 0, 0)),
        (255, {"validation": 0, "test": 1}, (245, 0, 10)),
        (30, {"validation": 50, "test": 40}, (3, 15, 12)),
    ],
)
def test_few_prompts_are_counted_out(rows: int, shares: dict[str, int], counts: tuple[int, ...]) -> None:
    """By the hash alone 255 rows once gave 253, 1 and 1."""
    lines = [line(f"prompt {number}") for number in range(rows)]
    found, again = split_up(lines, **shares), split_up(lines[::-1], **shares)
    assert tuple(len(found[split]) for split in Split) == counts
    for split in Split:
        assert {row.row_id for row in found[split]} == {row.row_id for row in again[split]}


@pytest.mark.parametrize("sealed_first", [True, False])
def test_the_preview_shows_no_row_of_the_test_split(sealed_first: bool) -> None:
    lines = [line(f"prompt {number}") for number in range(60)]
    test = {row.messages[0]["content"] for row in split_up(lines)[Split.TEST]}
    lines.sort(key=lambda text: (json.loads(text)["messages"][0]["content"] in test) != sealed_first)
    report = check_file(io.BytesIO("".join(lines).encode()), "jsonl", Options())
    shown = [row["messages"][0]["content"] for row in report["preview"]]
    assert len(shown) == 5
    assert not test & set(shown)


def test_duplicates_are_kept_once_and_named_by_line() -> None:
    report = check_file(io.BytesIO((line("a") + line("b") + line("a") * 2).encode()), "jsonl", Options())
    assert report["rows"] == 2
    assert report["duplicates"] == {"count": 2, "examples": [[3, 1], [4, 1]]}


def test_stated_splits_are_obeyed_and_their_overlap_is_shown() -> None:
    text = (
        line("a", split="train")
        + line("b", split="validation")
        + line("A ", split="test")
        + line("c", split="test")
    )
    report = check_file(io.BytesIO(text.encode()), "jsonl", Options())
    assert report["splits"] == {"train": 1, "validation": 1, "test": 2}
    assert report["overlap"]["prompts"] == 1
    assert report["overlap"]["rows"] == 1
    assert report["overlap"]["examples"] == [{"prompt": "a", "lines": {"train": [1], "test": [3]}}]


def test_fields_are_described() -> None:
    text = line("a", score=1, kind="x") + line("b", score=3.0, kind="y", extra=[1])
    report = check_file(io.BytesIO(text.encode()), "jsonl", Options())
    score, kind, extra = report["fields"]
    assert score["numbers"] == {"min": 1, "mean": 2.0, "max": 3.0}
    assert kind["values"] == [("x", 1), ("y", 1)]
    assert extra["present"] == 1
    assert extra["types"] == {"list": 1}
