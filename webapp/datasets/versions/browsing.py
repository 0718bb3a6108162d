"""A version's page: rows found by the filters in its address, and statistics whose bars are such filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from django.core.paginator import Page, Paginator
from django.http import QueryDict

from webapp.datasets.content.limits import PAGE_ROWS
from webapp.datasets.content.rows import Split
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.preview import build_preview
from webapp.datasets.versions import split_files
from webapp.datasets.versions.columns import ITEM, open_columns
from webapp.datasets.versions.row_search import RANGE, Filter, encode_search, find_positions, parse_filters

OWN_NAMES = {"prompt_characters": "prompt", "messages": "messages"}
FILTER_OF = {"values": "is", "numbers": "between", "lengths": "length"}


# --- rows of a split -------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowsPage:
    """A page of a split's rows. ``filters`` is empty and ``text`` blank where nothing was asked for.

    ``search`` is the query string that the pages of its rows get, so that they know their neighbours.
    """

    page: Page[int]
    rows: list[dict[str, Any]]
    text: str
    filters: list[dict[str, str]]
    search: str


def search_rows(version: DatasetVersion, split: Split, query: QueryDict) -> RowsPage:
    """The rows that the address asks for, long values cut, each with its number in the split."""
    text, filters = query.get("q", "").strip(), parse_filters(query)
    places = _find_positions(version, split, text, filters)
    size = version.files[split.label]["rows"] if places is None else len(places)
    page = Paginator(range(size), PAGE_ROWS).get_page(query.get("page"))
    first = max(page.start_index() - 1, 0)
    shown = places.slice(first, PAGE_ROWS).to_pylist() if places is not None else list(page.object_list)
    rows = zip(shown, split_files.read_rows(version, split.label, shown), strict=True)
    return RowsPage(
        page,
        [build_preview(place + 1, row) | {"row_id": row["row_id"]} for place, row in rows],
        text,
        [_build_chip(each, query) for each in filters],
        encode_search(query),
    )


def list_rows(
    version: DatasetVersion, split: Split, query: QueryDict
) -> tuple[Page[int], list[dict[str, Any]]]:
    """A page of a split that has no columns to search: an opened test split."""
    page = Paginator(range(version.files[split.label]["rows"]), PAGE_ROWS).get_page(query.get("page"))
    shown = list(page.object_list)
    rows = zip(shown, split_files.read_rows(version, split.label, shown), strict=True)
    return page, [build_preview(place + 1, row) for place, row in rows]


def _find_positions(
    version: DatasetVersion, split: Split, text: str, filters: list[Filter]
) -> pa.ChunkedArray | None:
    """None stands for every row."""
    if not text and not filters:
        return None
    with open_columns(version.files[split.label]["columns"]) as columns:
        return find_positions(columns, text, filters)


def _build_chip(each: Filter, query: QueryDict) -> dict[str, str]:
    """A filter in words, with the address that takes it away."""
    return {
        "name": each.name, "text": each.text,
        "label": f"{_get_display_name(each.column)} {_describe_condition(each)}", "without": _remove_filter(query, each),
    }  # fmt: skip


def _describe_condition(each: Filter) -> str:
    low, _, high = each.text.partition(RANGE)
    return {
        "is": f"is {each.text}",
        "between": f"from {low} to below {high}",
        "length": f"of {low} to below {high} characters",
        "none": "is missing",
    }[each.kind]


def _get_display_name(column: str) -> str:
    return OWN_NAMES.get(column) or column.removeprefix(ITEM)


def _remove_filter(query: QueryDict, each: Filter) -> str:
    rest = query.copy()
    rest.setlist(each.name, [text for text in query.getlist(each.name) if text != each.text])
    rest.pop("page", None)
    return "?" + rest.urlencode()


# --- statistics ------------------------------------------------------------------------------------


def build_charts(version: DatasetVersion, split: Split, query: QueryDict) -> list[dict[str, Any]]:
    """The split's histograms, each bar with its share of the highest and the address that filters by it."""
    active = parse_filters(query)
    found: list[dict[str, Any]] = version.report["columns"][split.label]
    return [_build_chart(histogram, query, active) for histogram in found]


def _build_chart(histogram: dict[str, Any], query: QueryDict, active: list[Filter]) -> dict[str, Any]:
    column, kind = histogram["column"], histogram["kind"]
    highest = max((bar["count"] for bar in histogram["bars"]), default=0)
    bars = []
    for bar in histogram["bars"]:
        each = Filter(FILTER_OF[kind], column, build_filter_text(bar))
        share = 100 * bar["count"] / highest if highest else 0
        bars.append(bar | {
            "label": _build_label(bar), "share": share,
            "top": 100 - share,
            "active": each in active, "address": _toggle_filter(query, each, active),
        })  # fmt: skip
    missing = Filter("none", column, "")
    return histogram | {
        "name": _get_display_name(column), "bars": bars, "width": 10 * len(bars),
        "characters": kind == "lengths" or column == "prompt_characters",
        "missing_address": _toggle_filter(query, missing, active), "missing_active": missing in active,
    }  # fmt: skip


def build_filter_text(bar: dict[str, Any]) -> str:
    """What a filter's text is for this bar."""
    return (
        _format_value(bar["value"])
        if "value" in bar
        else f"{_format_value(bar['low'])}{RANGE}{_format_value(bar['high'])}"
    )


def _build_label(bar: dict[str, Any]) -> str:
    if "value" in bar:
        return _format_value(bar["value"]) or "(empty)"
    return f"{_format_value(bar['low'])} to {_format_value(bar['high'])}"


def _format_value(value: float | str) -> str:
    """The number without needless zeros; reads back as the same number."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _toggle_filter(query: QueryDict, each: Filter, active: list[Filter]) -> str:
    """The address with this filter, or without it where it holds; a column has one filter at a time."""
    if each in active:
        return _remove_filter(query, each)
    rest = query.copy()
    for other in active:
        if other.column == each.column:
            rest.pop(other.name, None)
    rest.pop("page", None)
    rest[each.name] = each.text
    return "?" + rest.urlencode()
