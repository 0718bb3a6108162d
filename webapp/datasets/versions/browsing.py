"""A version's page: rows filtered by the URL, and histograms whose bars are filters."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from django.core.paginator import Page, Paginator
from django.http import QueryDict

from webapp.datasets.content.limits import PAGE_ROWS
from webapp.datasets.content.row_types import RowPreview
from webapp.datasets.content.rows import Split
from webapp.datasets.models import DatasetVersion
from webapp.datasets.reports import Bar, Histogram
from webapp.datasets.uploads.preview import build_preview
from webapp.datasets.versions import split_files
from webapp.datasets.versions.columns import ITEM, open_columns
from webapp.datasets.versions.row_search import RANGE, Filter, encode_search, find_positions, parse_filters

OWN_NAMES = {"prompt_characters": "prompt", "messages": "messages"}
FILTER_OF = {"values": "is", "numbers": "between", "lengths": "length"}


# --- rows of a split -------------------------------------------------------------------------------


@dataclass(frozen=True)
class FilterChip:
    """A filter in words. ``without`` is the query string that removes it."""

    name: str
    text: str
    label: str
    without: str


@dataclass(frozen=True)
class RowsPage:
    """A page of a split's rows. Without a search ``filters`` and ``text`` are empty.

    ``search`` is the query string that links to these rows carry, so that their pages know their neighbours.
    """

    page: Page[int]
    rows: list[RowPreview]
    text: str
    filters: list[FilterChip]
    search: str


def search_rows(version: DatasetVersion, split: Split, query: QueryDict) -> RowsPage:
    """Find the rows for the query string. Long values are cut."""
    text, filters = query.get("q", "").strip(), parse_filters(query)
    matches: pa.ChunkedArray | None = None  # every row
    if text or filters:
        with open_columns(version.files[split.label]["columns"]) as columns:
            matches = find_positions(columns, text, filters)
    size = version.files[split.label]["rows"] if matches is None else len(matches)
    page = Paginator(range(size), PAGE_ROWS).get_page(query.get("page"))
    first = max(page.start_index() - 1, 0)
    positions = list(page.object_list) if matches is None else matches.slice(first, PAGE_ROWS).to_pylist()
    rows = []
    for position, row in zip(positions, split_files.read_rows(version, split.label, positions), strict=True):
        rows.append(build_preview(position + 1, row))
        rows[-1]["row_id"] = row["row_id"]
    chips = [
        FilterChip(each.name, each.text, _describe_filter(each), _remove_filter(query, each))
        for each in filters
    ]
    return RowsPage(page, rows, text, chips, encode_search(query))


def list_rows(version: DatasetVersion, split: Split, query: QueryDict) -> tuple[Page[int], list[RowPreview]]:
    """Return a page of a split without searchable columns: an opened test split."""
    page = Paginator(range(version.files[split.label]["rows"]), PAGE_ROWS).get_page(query.get("page"))
    positions = list(page.object_list)
    rows = zip(positions, split_files.read_rows(version, split.label, positions), strict=True)
    return page, [build_preview(position + 1, row) for position, row in rows]


def _describe_filter(each: Filter) -> str:
    low, _, high = each.text.partition(RANGE)
    condition = {
        "is": f"is {each.text}",
        "between": f"from {low} to below {high}",
        "length": f"of {low} to below {high} characters",
        "none": "is missing",
    }[each.kind]
    return f"{_get_display_name(each.column)} {condition}"


def _get_display_name(column: str) -> str:
    return OWN_NAMES.get(column) or column.removeprefix(ITEM)


def _remove_filter(query: QueryDict, each: Filter) -> str:
    """Return the query string without this filter."""
    rest = query.copy()
    rest.setlist(each.name, [text for text in query.getlist(each.name) if text != each.text])
    rest.pop("page", None)
    return "?" + rest.urlencode()


# --- histograms ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChartBar:
    """A bar that links to the page with its filter set or removed.

    ``share`` is in percent of the highest.
    """

    label: str
    count: int
    low: float | None
    high: float | None
    share: float
    active: bool
    query: str

    @property
    def top(self) -> float:
        """The distance from the top of the chart, in percent."""
        return 100 - self.share


@dataclass(frozen=True)
class Chart:
    """A histogram for the page. ``characters`` is True if its numbers are lengths of texts."""

    name: str
    kind: str
    mean: float | None
    bars: list[ChartBar]
    others: int
    missing: int
    missing_active: bool
    missing_query: str
    characters: bool

    @property
    def width(self) -> int:
        return 10 * len(self.bars)


def build_charts(version: DatasetVersion, split: Split, query: QueryDict) -> list[Chart]:
    """Return the split's histograms with the links of their bars."""
    active = parse_filters(query)
    return [_build_chart(each, query, active) for each in version.report["columns"][split.label]]


def _build_chart(histogram: Histogram, query: QueryDict, active: list[Filter]) -> Chart:
    column, kind = histogram["column"], histogram["kind"]
    highest = max((bar["count"] for bar in histogram["bars"]), default=0)
    bars = []
    for bar in histogram["bars"]:
        each = Filter(FILTER_OF[kind], column, build_filter_text(bar))
        bars.append(
            ChartBar(
                label=_build_label(bar),
                count=bar["count"],
                low=bar.get("low"),
                high=bar.get("high"),
                share=100 * bar["count"] / highest if highest else 0,
                active=each in active,
                query=_toggle_filter(query, each, active),
            )
        )
    missing = Filter("none", column, "")
    return Chart(
        name=_get_display_name(column),
        kind=kind,
        mean=histogram.get("mean"),
        bars=bars,
        others=histogram.get("others", 0),
        missing=histogram["missing"],
        missing_active=missing in active,
        missing_query=_toggle_filter(query, missing, active),
        characters=kind == "lengths" or column == "prompt_characters",
    )


def build_filter_text(bar: Bar) -> str:
    """Return the text of the filter for this bar."""
    if "value" in bar:
        return _format_value(bar["value"])
    return f"{_format_value(bar['low'])}{RANGE}{_format_value(bar['high'])}"


def _build_label(bar: Bar) -> str:
    if "value" in bar:
        return _format_value(bar["value"]) or "(empty)"
    return f"{_format_value(bar['low'])} to {_format_value(bar['high'])}"


def _format_value(value: float | str) -> str:
    """Drop needless zeros of a number. The text parses to the same number."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _toggle_filter(query: QueryDict, each: Filter, active: list[Filter]) -> str:
    """Return the query string with this filter, or without it if it is active.

    A column has one filter.
    """
    if each in active:
        return _remove_filter(query, each)
    rest = query.copy()
    for other in active:
        if other.column == each.column:
            rest.pop(other.name, None)
    rest.pop("page", None)
    rest[each.name] = each.text
    return "?" + rest.urlencode()
