"""A version's pages: histograms as filters, search, one row, and changes since another version."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import QueryDict
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.web.stored import rows_of
from webapp.datasets.content.field_profile import FieldProfile
from webapp.datasets.content.rows import Columns, build_row
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.datasets.versions import browsing, histograms
from webapp.datasets.versions.columns import (
    ColumnWriter,
    choose_column_types,
    open_columns,
    read_column_types,
)
from webapp.datasets.versions.row_search import Filter, find_positions
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
Item = dict[str, Any]

storable = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    storable, st.lists(st.integers(), max_size=2),
)  # fmt: skip
items = st.dictionaries(st.sampled_from(["a", "b", "c d", "é=&"]), values, max_size=4)
kind_of_one_sort = st.one_of(
    st.lists(st.builds(lambda n: {"n": n}, st.integers(-(10**6), 10**6)), min_size=1, max_size=60),
    st.lists(st.builds(lambda x: {"x": x}, st.floats(-1, 1)), min_size=1, max_size=60),
    st.lists(items, min_size=1, max_size=30),
)


@given(kind_of_one_sort)
def test_the_filter_of_a_bar_finds_as_many_rows_as_the_bar_shows(rows: list[Item]) -> None:
    fields = FieldProfile()
    made = [
        build_row({"prompt": f"Prompt {n}", **item}, Columns(prompt="prompt")) for n, item in enumerate(rows)
    ]
    for row in made:
        fields.add(row)
    report = fields.as_json()["fields"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        writer = ColumnWriter(path, choose_column_types(report))
        for row in made:
            writer.add(row)
        writer.close()
        shown = histograms.build_histograms(path, report)
        assert {each["column"] for each in shown} >= {f"item.{name}" for item in rows for name in item}
        with pq.ParquetFile(path) as columns:
            for histogram in shown:
                assert _count_rows(histogram) == len(rows)
                for bar in histogram["bars"]:
                    matching = Filter(
                        browsing.FILTER_OF[histogram["kind"]],
                        histogram["column"],
                        browsing.build_filter_text(bar),
                    )
                    assert len(find_positions(columns, "", [matching])) == bar["count"]
                missing = Filter("none", histogram["column"], "")
                assert len(find_positions(columns, "", [missing])) == histogram["missing"]


def _count_rows(histogram: dict[str, Any]) -> int:
    shown = sum(bar["count"] for bar in histogram["bars"])
    return int(histogram["missing"] + shown + histogram.get("other_rows", 0))


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12), st.booleans())
def test_edges_are_few_and_include_all_numbers(least: float, span: float, whole: bool) -> None:
    if whole:
        least, span = float(int(least)), float(int(span))
    edges = histograms.choose_edges(least, least + span, whole)
    assert edges[0] <= least
    assert edges[-1] > least + span
    assert 2 <= len(edges) <= histograms.MOST_BARS + 1
    assert edges == sorted(set(edges))
    assert not whole or all(edge.is_integer() for edge in edges)


def jsonl(*rows: Item) -> bytes:
    return "".join(
        json.dumps({"messages": [{"role": "user", "content": row.pop("prompt")}], **row}) + "\n"
        for row in rows
    ).encode()


def committed(team: Team, user: User, data: bytes, dataset: Dataset | None = None) -> DatasetVersion:
    upload = receive_file(
        team, user, "Data", SimpleUploadedFile("a.jsonl", data), Options(validation=20, test=20), dataset
    )
    return commit_upload(upload, user, Choices())[0]


def orders(*numbers: int, shift: int = 0) -> bytes:
    return jsonl(
        *({"prompt": f"Order {n}", "amount": n + shift, "country": ["DE", "FR"][n % 2]} for n in numbers)
    )


@pytest.fixture
def version(team: Team, alice: User) -> DatasetVersion:
    return committed(team, alice, orders(*range(60)))


@pytest.fixture
def client(as_user: SignIn, alice: User) -> Client:
    return as_user(alice)


def test_the_links_of_bars_find_their_rows(client: Client, version: DatasetVersion) -> None:
    page = client.get(version.get_absolute_url())
    train = version.files["train"]["rows"]
    bars = re.findall(r'aria-label="[^"]*: (\d+) rows?"\s+href="([^"]*)"', page.content.decode())
    assert sum(int(count) for count, _ in bars) >= 2 * train  # the prompt's length, and the amount
    for count, address in bars:
        found = client.get(version.get_absolute_url() + html.unescape(address))
        assert found.context["page"].paginator.count == int(count)
        assert html.escape("from ") in found.content.decode()


def test_filters_combine_and_are_removed_one_by_one(client: Client, version: DatasetVersion) -> None:
    germans = client.get(
        version.get_absolute_url(), {"is:item.country": "DE", "between:item.amount": "0..20"}
    )
    found = germans.context["found"]
    assert found.rows
    assert all(row["item"]["country"] == "DE" and row["item"]["amount"] < 20 for row in found.rows)
    rest = client.get(version.get_absolute_url() + found.filters[0].without).context["found"]
    assert [each.label for each in rest.filters] == [found.filters[1].label]


def test_rows_are_searched_in_prompt_and_fields_in_any_case(client: Client, version: DatasetVersion) -> None:
    rows = rows_of(version.files["train"]["key"])
    for text in ("oRDER 1", "fr"):
        found = client.get(version.get_absolute_url(), {"q": text}).context["page"].paginator.count
        assert found == sum(text.lower() in json.dumps(row).lower() for row in rows) > 0
    nothing = client.get(version.get_absolute_url(), {"q": "<script>"}).content.decode()
    assert "No rows found" in nothing
    assert "<script>alert" not in nothing


@pytest.mark.parametrize(
    "query", ["is:item.nothing=1", "between:item.amount=low..high", "length:item.amount=0..9", "is:row_id=a"]
)
def test_a_filter_that_makes_no_sense_is_shown_and_finds_nothing(
    client: Client, version: DatasetVersion, query: str
) -> None:
    found = client.get(f"{version.get_absolute_url()}?{query}").context["found"]
    assert (found.rows, len(found.filters)) == ([], 1)


def test_the_sealed_split_has_no_columns_and_no_rows(client: Client, version: DatasetVersion) -> None:
    with open_columns(version.files["test"]["columns"]) as columns:
        assert list(read_column_types(columns)) == ["row_id", "prompt_id"]
    secret = rows_of(version.files["test"]["key"])[0]
    page = client.get(version.get_absolute_url(), {"split": "test", "q": "Order"}).content.decode()
    assert secret["messages"][0]["content"] not in page
    assert client.get(f"{version.get_absolute_url()}rows/{secret['row_id']}/").status_code == 404
    for made_up in ("nonsense", "00", "0" * 32):
        assert client.get(f"{version.get_absolute_url()}rows/{made_up}/").status_code == 404


def test_a_row_has_a_page_with_all_its_fields(client: Client, team: Team, alice: User) -> None:
    long = "<b>" + "x" * 9000 + "end of it"
    data = jsonl(*({"prompt": f"{n} {long}", "reference": long, "items": [n]} for n in range(20)))
    version = committed(team, alice, data)
    listed = client.get(version.get_absolute_url()).content.decode()
    assert "end of it" not in listed
    address = re.search(r'href="([^"]*/rows/[^"]*)"', listed)
    assert address
    shown = client.get(address[1]).content.decode()
    assert shown.count(html.escape(long)) >= 2
    assert "<b>x" not in shown
    assert "item.items" in shown  # a name that templates know another meaning of


def test_neighbour_links_cover_the_split_and_similar_prompts_are_listed(
    client: Client, team: Team, alice: User
) -> None:
    twins = jsonl({"prompt": "Same prompt", "label": 1}, {"prompt": "same  PROMPT", "label": 2})
    version = committed(team, alice, orders(*range(20)) + twins)
    rows = rows_of(version.files["train"]["key"])
    path = f"{version.get_absolute_url()}rows/{rows[0]['row_id']}/"
    for row in rows[1:]:
        found = client.get(path).context["found"]
        assert found.later == row["row_id"]
        path = f"{version.get_absolute_url()}rows/{found.later}/"
    assert client.get(path).context["found"].later is None
    split = next(
        name for name in version.files if any("Same" in str(r) for r in rows_of(version.files[name]["key"]))
    )
    if split != "test":
        both = [row for row in rows_of(version.files[split]["key"]) if "label" in row["item"]]
        found = client.get(f"{version.get_absolute_url()}rows/{both[0]['row_id']}/").context["found"]
        assert found.alike == [both[1]["row_id"]]


def test_changes_between_two_versions_are_listed_by_row(client: Client, team: Team, alice: User) -> None:
    older = committed(team, alice, orders(*range(40)))
    newer = committed(
        team, alice, orders(*range(10)) + orders(*range(10, 20), shift=100) + orders(*range(40, 50)),
        older.dataset,
    )  # fmt: skip
    sealed = {
        row["messages"][0]["content"] for v in (older, newer) for row in rows_of(v.files["test"]["key"])
    }
    wanted = {"added": range(40, 50), "removed": range(20, 40), "changed": range(10, 20), "moved": range(0)}
    path = f"{newer.get_absolute_url()}since/v{older.number}/"
    for kind, numbers in wanted.items():
        page = client.get(path, {"kind": kind})
        shown = {change.row["messages"][0]["content"] for change in page.context["changes"]}
        assert shown == {f"Order {n}" for n in numbers} - sealed, kind
        assert not any(f">{prompt}<" in page.content.decode() for prompt in sealed)
    change = client.get(path, {"kind": "changed"}).context["changes"][0]
    assert change.fields == [("amount", change.row["item"]["amount"] - 100, change.row["item"]["amount"])]
    assert client.get(path, {"kind": "nothing"}).status_code == 404


def test_a_row_in_another_split_is_listed_as_moved(client: Client, team: Team, alice: User) -> None:
    rows = [{"prompt": f"Order {n}", "split": "train"} for n in range(12)]
    held_out = [{"prompt": "Held out", "split": "validation"}]
    older = committed(team, alice, jsonl(*map(dict, rows + held_out)))
    upload = receive_file(
        team, alice, "Data", SimpleUploadedFile("a.jsonl", orders(*range(30))), Options(), older.dataset
    )
    first = commit_upload(upload, alice, Choices())[0]
    other_shares = receive_file(
        team, alice, "Data", SimpleUploadedFile("a.jsonl", orders(*range(30))),
        Options(validation=70, test=10), older.dataset,
    )  # fmt: skip
    second = commit_upload(other_shares, alice, Choices())[0]
    page = client.get(f"{second.get_absolute_url()}since/v{first.number}/", {"kind": "moved"})
    counts = dict(page.context["counts"])
    assert (counts["added"], counts["removed"], counts["changed"]) == (0, 0, 0)
    moved = page.context["changes"]
    assert moved
    assert {(change.split_before, change.split) for change in moved} == {("train", "validation")}


def test_a_query_may_hold_anything(version: DatasetVersion) -> None:
    query = QueryDict("is:item.country=&none:item.amount=&between:item.amount=1&q=%00&page=x")
    assert browsing.search_rows(version, browsing.Split.TRAIN, query).rows == []


def test_previous_and_next_of_a_row_stay_in_its_search(
    team: Team, alice: User, as_user: Callable[[User], Client]
) -> None:
    rows = [
        {
            "messages": [{"role": "user", "content": f"{'odd' if n % 2 else 'even'} {n}"}],
            "split": "train",
            "n": n,
        }
        for n in range(12)
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    version, _ = commit_upload(
        receive_file(team, alice, "Data", SimpleUploadedFile("a.jsonl", data), Options()), alice, Choices()
    )
    client = as_user(alice)
    page = client.get(version.get_absolute_url(), {"q": "odd", "between:item.n": "2..9"})
    first = re.search(r'href="([^"]+/rows/[^"]+)"', page.text)
    assert first
    seen, link = [], html.unescape(first[1])
    while link:
        shown = client.get(link)
        seen.append(shown.context["row"]["item"]["n"])
        onward = re.search(r'rel="next"\s+href="([^"]+)"', shown.text)
        link = html.unescape(onward[1]) if onward else ""
    assert seen == [3, 5, 7]
    assert "Match 3 of 3 in" in shown.text
