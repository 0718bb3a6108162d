"""Differences between two versions of a dataset, row by row. The test split stays sealed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, zip_longest

import pyarrow as pa
import pyarrow.compute as pc
from django.core.paginator import Page, Paginator

from webapp.datasets.content.limits import PAGE_ROWS
from webapp.datasets.content.row_types import RowPreview
from webapp.datasets.content.rows import Split
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.preview import build_preview
from webapp.datasets.versions import split_files
from webapp.datasets.versions.columns import KEYS, open_columns
from workers.contract.json_types import JsonValue

KINDS = ("added", "removed", "changed", "moved")
SPLIT_BITS = 32  # a spot holds the split's number above these bits, and the row's position below


@dataclass(frozen=True)
class Differences:
    """Rows by ascending spots: ``spot`` in the newer version, ``before`` in the older one.

    A ``changed`` row has the same prompt and other fields. A ``moved`` row is the same in another split.
    """

    added: pa.Table
    removed: pa.Table
    changed: pa.Table
    moved: pa.Table
    same: int


def compare_versions(older: DatasetVersion, newer: DatasetVersion) -> Differences:
    """Compare two versions by the ids of their rows."""
    after, before = _read_spots(newer, "spot"), _read_spots(older, "before")
    # Arrow joins lose the order, so every result is sorted by its spots again.
    kept = after.join(before.drop_columns("prompt_id"), "row_id", join_type="inner")
    added = after.join(before, "row_id", join_type="left anti")
    removed = before.join(after, "row_id", join_type="left anti")
    changed = _keep_first_per_prompt(added, "spot").join(
        _keep_first_per_prompt(removed, "before"), "prompt_id", join_type="inner"
    )
    stayed = pc.equal(_split_numbers(kept["spot"]), _split_numbers(kept["before"]))
    return Differences(
        added=added.join(changed, "spot", join_type="left anti").sort_by("spot"),
        removed=removed.join(changed, "before", join_type="left anti").sort_by("before"),
        changed=changed.sort_by("spot"),
        moved=kept.filter(pc.invert(stayed)).sort_by("spot"),
        same=pc.sum(stayed).as_py() or 0,
    )


@dataclass(frozen=True)
class Change:
    """A row for the page: its splits now and before, and (field, old, new) for each difference."""

    row: RowPreview
    split: str
    split_before: str
    fields: list[tuple[str, JsonValue, JsonValue]]


def build_page(
    older: DatasetVersion, newer: DatasetVersion, found: Differences, kind: str, number: str | None
) -> tuple[Page[int], list[Change]]:
    """Return a page of the rows of one kind from KINDS. Long values are cut."""
    rows: pa.Table = getattr(found, kind)
    page = Paginator(range(len(rows)), PAGE_ROWS).get_page(number)
    shown = rows.slice(max(page.start_index() - 1, 0), PAGE_ROWS).to_pydict()
    after = _read_rows(newer, shown.get("spot", []))
    before = _read_rows(older, shown.get("before", []))
    pairs = zip_longest(before, after, fillvalue=None)
    return page, [_build_change(was, now) for was, now in pairs]


def _read_rows(version: DatasetVersion, spots: list[int]) -> list[RowPreview]:
    """Read the rows at these spots, in the same order."""
    found = {}
    for split, near in groupby(sorted(spots), key=lambda spot: Split(spot >> SPLIT_BITS)):
        positions = [spot & (2**SPLIT_BITS - 1) for spot in near]
        rows = split_files.read_rows(version, split.label, positions)
        for position, row in zip(positions, rows, strict=True):
            shown = build_preview(position + 1, row)
            shown["row_id"], shown["split"] = row["row_id"], split.label
            found[(split << SPLIT_BITS) + position] = shown
    return [found[spot] for spot in spots]


def _build_change(was: RowPreview | None, now: RowPreview | None) -> Change:
    if was is None or now is None:
        row = now or was
        assert row is not None, "zip_longest never yields two fill values"
        return Change(row, row["split"], row["split"], [])
    names = dict.fromkeys([*was["item"], *now["item"]])
    pairs = [(name, was["item"].get(name), now["item"].get(name)) for name in names]
    differing = [(name, before, after) for name, before, after in pairs if before != after]
    return Change(now, now["split"], was["split"], differing)


def _read_spots(version: DatasetVersion, name: str) -> pa.Table:
    parts = []
    for split in (each for each in Split if not each.sealed):
        with open_columns(version.files[split.label]["columns"]) as columns:
            table = columns.read(columns=KEYS)
        first = split << SPLIT_BITS
        parts.append(table.append_column(name, pa.array(range(first, first + len(table)), pa.int64())))
    return pa.concat_tables(parts)


def _keep_first_per_prompt(rows: pa.Table, spot: str) -> pa.Table:
    """Keep the first row of each prompt, so that a repeated prompt is paired once."""
    return rows.group_by("prompt_id").aggregate([(spot, "min")]).rename_columns({f"{spot}_min": spot})


def _split_numbers(spots: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.shift_right(spots, SPLIT_BITS)
