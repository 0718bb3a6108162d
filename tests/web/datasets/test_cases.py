"""Files as other software writes them: chat rows of trainers, sheets of Excel, tables of pandas and Spark."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.test import Client

from tests.web.datasets.test_datasets import SignIn, collect, upload_file
from tests.web.stored import rows_of
from webapp.datasets.content.problems import RowError
from webapp.datasets.content.rows import Columns, Row
from webapp.datasets.formats import read_rows
from webapp.datasets.uploads.services import Choices, commit_upload
from webapp.datasets.uploads.validation import Options, check_file
from webapp.teams.models import Team, User

CHAT = [
    {"role": "system", "content": "Answer with one number."},
    {"role": "user", "content": "How many crates are 2 rows of 3?"},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}


def rows(content: bytes, kind: str, columns: Columns | None = None) -> list[Row]:
    found = [each for _, each in read_rows(kind, io.BytesIO(content), columns)]
    assert [each.reason for each in found if isinstance(each, RowError)] == []
    return [each for each in found if isinstance(each, Row)]


def errors(content: bytes, kind: str = "csv") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = check_file(io.BytesIO(content), kind, Options())["errors"]
    return found


def parquet(table: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def jsonl(*found: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in found).encode()


# --- case 01: the prompt is a list of messages -----------------------------------------------------

CHAT_FILES = {
    "jsonl": jsonl({"prompt": CHAT, "answer": "6"}),
    "parquet": parquet(pa.Table.from_pylist([{"prompt": CHAT, "answer": "6"}])),
    "csv": f'prompt,answer\n"{json.dumps(CHAT).replace(chr(34), chr(34) * 2)}",6\n'.encode(),
}
CHOICES = {"nothing": None, "prompt": Columns(prompt="prompt"), "messages": Columns(messages="prompt")}


@pytest.mark.parametrize("kind", CHAT_FILES)
@pytest.mark.parametrize("columns", CHOICES.values(), ids=CHOICES)
def test_a_prompt_may_be_a_list_of_messages(kind: str, columns: Columns | None) -> None:
    (row,) = rows(CHAT_FILES[kind], kind, columns)
    assert row.messages == CHAT
    assert row.item == {"answer": "6"}


# --- case 03 and other sheets ----------------------------------------------------------------------


def test_delimiters_in_a_quoted_header_do_not_count() -> None:
    text = '"prompt, as asked, unedited";"answer"\n"Sum of 2 and 3?";"5"\n"Half of 9; exact?";"4.5"\n'
    found = rows(text.encode(), "csv", Columns(prompt="prompt, as asked, unedited"))
    assert [row.messages[0]["content"] for row in found] == ["Sum of 2 and 3?", "Half of 9; exact?"]
    assert [row.item for row in found] == [{"answer": "5"}, {"answer": "4.5"}]


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\nprompt;answer\r\na;1\r\nb;2\r\n",
        "\ufeffprompt;answer\r\na;1\r\nb;2\r\n",
        "prompt,answer\ra,1\rb,2\r",
        "prompt,answer\ra,1\rb,2",
        ",prompt,answer\n0,a,1\n1,b,2\n",
        "Unnamed: 0,prompt,answer\n0,a,1\n1,b,2\n",
    ],
    ids=["sep=", "byte order mark", "CR", "CR without the last", "index without a name", "index read again"],
)
def test_sheets_of_excel_and_pandas(text: str) -> None:
    found = rows(text.encode(), "csv")
    assert [(row.messages[0]["content"], row.item) for row in found] == [
        ("a", {"answer": "1"}),
        ("b", {"answer": "2"}),
    ]


def test_json_lines_that_end_with_cr() -> None:
    text = jsonl({"prompt": "a"}, {"prompt": "b"}).replace(b"\n", b"\r")
    assert [row.messages[0]["content"] for row in rows(text, "jsonl")] == ["a", "b"]


def test_quoted_line_breaks_stay_in_their_cell() -> None:
    (row,) = rows(b'prompt,answer\n"a\nb",1\n', "csv")
    assert row.messages[0]["content"] == "a\nb"


def test_windows_1252_is_named_with_its_remedy() -> None:
    (error,) = errors("prompt,answer\ncafé,1\n".encode("cp1252"))
    assert error["line"] == 2
    assert "Windows-1252, where it would be “é”" in error["reason"]
    assert "CSV UTF-8" in error["remedy"]
    assert error["excerpt"] == r"caf\xe9,1"


def test_the_index_of_pandas_is_left_out_unless_it_is_chosen(team: Team, alice: User) -> None:
    table = pa.table({"prompt": ["a"], "__index_level_0__": [7]})
    found = upload_file(team, alice, parquet(table), "a.parquet")
    assert {each["name"]: each["role"] for each in found.report["table"]} == {
        "prompt": "prompt", "__index_level_0__": "out",
    }  # fmt: skip
    assert found.report["fields"] == []
    chosen = Columns(prompt="prompt", left_out=frozenset())
    (row,) = rows(parquet(pa.table({"prompt": ["a"], "__index_level_0__": [7]})), "parquet", chosen)
    assert row.item == {"__index_level_0__": 7}


# --- case 04: maps; nulls that Parquet adds --------------------------------------------------------


def test_maps_of_spark_are_objects() -> None:
    text = pa.map_(pa.string(), pa.string())
    messages = pa.array([[[("role", "user"), ("content", "Weight?")]]], pa.list_(text))
    meta = pa.array([[("unit", "kg")]], text)
    (row,) = rows(parquet(pa.table({"messages": messages, "meta": meta})), "parquet")
    assert row.messages == [{"role": "user", "content": "Weight?"}]
    assert row.item == {"meta": {"unit": "kg"}}


def test_a_map_with_a_key_twice_is_refused() -> None:
    table = pa.table(
        {"prompt": ["a"], "meta": pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64()))}
    )
    (error,) = errors(parquet(table), "parquet")
    assert "'meta' has a key twice" in error["reason"]


def test_nulls_that_parquet_adds_are_no_part_of_messages_and_tools() -> None:
    messages = [
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "warm", "tool_call_id": "c1"},
        {"role": "user", "content": "And Oslo?"},
    ]  # fmt: skip
    other = {
        "type": "function",
        "function": {"name": "time", "description": "Now", "parameters": {"type": "object"}},
    }
    data = [
        {"messages": messages, "tools": [TOOL, other]},
        {"messages": [{"role": "user", "content": "Hi"}], "tools": None},
    ]
    with_nulls, without = rows(parquet(pa.Table.from_pylist(data)), "parquet"), rows(jsonl(*data), "jsonl")
    assert [row.body for row in with_nulls] == [row.body for row in without]
    assert with_nulls[0].messages[1] == {key: part for key, part in messages[1].items() if part is not None}


def test_nulls_in_messages_of_json_lines_are_left_out() -> None:
    (row,) = rows(
        jsonl({"messages": [{"role": "user", "content": "a", "tool_calls": None, "name": None}]}), "jsonl"
    )
    assert row.messages == [{"role": "user", "content": "a"}]


# --- cases 05 and 06: tools, tool calls, developer -------------------------------------------------


@pytest.mark.parametrize(
    "written", [[TOOL], json.dumps([TOOL]), [TOOL["function"]], [{"type": "function", **TOOL["function"]}]],
    ids=["nested", "as text", "bare", "flat"],
)  # fmt: skip
def test_tools_are_stored_in_one_shape(written: Any) -> None:
    (row,) = rows(jsonl({"prompt": "a", "tools": written, "answer": "b"}), "jsonl")
    assert json.loads(row.body)["tools"] == [TOOL]
    assert row.item == {"answer": "b"}


@pytest.mark.parametrize("tools", ["hammer", [1], [{"type": "web_search"}], [{"function": {}}], {"a": 1}])
def test_other_tools_are_refused_with_the_expected_shape(tools: Any) -> None:
    (error,) = errors(jsonl({"prompt": "a", "tools": tools}), "jsonl")
    assert error["reason"].startswith("tools ")
    assert '"type": "function"' in error["remedy"]


@pytest.mark.parametrize("arguments", [{"city": "Rome"}, '{"city": "Rome"}'], ids=["object", "text"])
def test_arguments_of_tool_calls_are_objects(arguments: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    turns = [{"role": "assistant", "tool_calls": [call]}, {"role": "user", "content": "a"}]
    (row,) = rows(jsonl({"messages": turns}), "jsonl")
    assert row.messages[0]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}


def test_tools_and_developer_messages_reach_the_version_and_its_row_page(
    team: Team, alice: User, as_user: SignIn
) -> None:
    messages = [{"role": "developer", "content": "red blue green"}, {"role": "user", "content": "a"}]
    made, _ = commit_upload(
        upload_file(team, alice, jsonl({"messages": messages, "tools": [TOOL]})), alice, Choices()
    )
    (row,) = rows_of(made.files["train"]["key"])
    assert row["messages"] == messages
    assert row["tools"] == [TOOL]
    page = as_user(alice).get(made.get_row_url(row["row_id"])).text
    assert "1 tool offered" in page
    assert "<code>weather</code>" in page
    assert 'data-role="developer"' in page


def test_lists_of_rows_show_the_last_request_and_unfold_to_the_conversation_with_its_calls(
    team: Team, alice: User, as_user: SignIn
) -> None:
    questions = [{"role": "user", "content": f"question {n}"} for n in range(6)]
    called = {"role": "assistant", "tool_calls": [CALL]}
    row = {"messages": [*questions[:5], called, questions[5]], "tools": [TOOL]}
    received, client = upload_file(team, alice, jsonl(row)), as_user(alice)
    report = client.get(received.get_absolute_url()).text
    made, _ = commit_upload(received, alice, Choices())
    for page in (report, client.get(made.get_absolute_url()).text):
        listed = page[page.index("7 messages") :].split("</details>")[0]
        assert "question 5" in listed
        assert "question 4" not in listed.split("</summary>")[0]
        assert "1 earlier message" in listed
        assert 'data-role="assistant"' in listed
        assert "Calls <code>weather</code>" in listed


# --- errors ----------------------------------------------------------------------------------------


def test_csv_errors_name_the_first_line_the_record_and_quote_it() -> None:
    (error,) = errors(b'prompt,answer\n"a\nb",1\n"c\nd",2,<b>3\n"e",4\n')
    assert (error["line"], error["record"]) == (4, 2)
    assert error["excerpt"] == r'"c\nd",2,<b>3'


def test_an_unclosed_quote_is_reported_at_the_line_where_its_record_starts() -> None:
    (error,) = errors(b'prompt,answer\na,1\n"b,2\nc,3\nd,4\n')
    assert error["line"] == 3
    assert "record 2" in error["reason"]
    assert error["excerpt"].startswith('"b,2')


@pytest.mark.parametrize(
    ("content", "kind", "excerpt"),
    [
        (b'{"prompt": "a"}\n{"prompt" 1}\n', "jsonl", '{"prompt" 1}'),
        (b'{"prompt": "a\tb"}\n', "jsonl", r'{"prompt": "a\tb"}'),
        (b'{"prompt": "' + b"x" * 5000 + b'" 1}\n', "jsonl", "…" + "x" * 78 + '" 1}'),
        (parquet(pa.table({"prompt": ["a", " "], "n": [1, 2]})), "parquet", '{"prompt": " ", "n": 2}'),
    ],
    ids=["bad JSON", "control character", "long", "Parquet"],
)
def test_errors_quote_the_row(content: bytes, kind: str, excerpt: str) -> None:
    (error,) = errors(content, kind)
    assert error["excerpt"] == excerpt


def test_all_errors_are_downloaded_as_csv(team: Team, alice: User, as_user: SignIn) -> None:
    found = upload_file(team, alice, b"prompt,answer\na,1\n" + b"=b,2,3\n" * 150, "a.csv")
    client: Client = as_user(alice)
    page = client.get(found.get_absolute_url()).text
    assert "record 2" in page
    text = b"".join(_collected(client, f"{found.get_absolute_url()}errors/")).decode()
    header, *lines = csv.reader(io.StringIO(text))
    assert header == ["line", "record", "what is wrong", "what to do", "excerpt"]
    assert len(lines) == 150
    assert lines[0][:2] == ["3", "2"]
    assert lines[0][4] == "'=b,2,3"


def _collected(client: Client, path: str) -> list[bytes]:

    return asyncio.run(collect(client.get(path)))
