"""What a version of a dataset has that another has not, told row by row. The test split stays sealed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from django.core.paginator import Page, Paginator

from webapp.datasets.content.limits import PAGE_ROWS
from webapp.datasets.content.rows import Split
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.preview import build_preview
from webapp.datasets.versions import split_files
from webapp.datasets.versions.columns import KEYS, open_columns

KINDS = ("added", "removed", "changed", "moved")
SPLIT_BITS = 32  # a spot is the number of the split above these bits, and the row's place in it below


@dataclass(frozen=True)
class Differences:
    """Rows by their spots, rising: ``spot`` in the newer version, ``before`` in the older one.

    A ``changed`` row has the same prompt and other fields; a ``moved`` one is the same in another split.
    """

    added: pa.Table
    removed: pa.Table
    changed: pa.Table
    moved: pa.Table
    same: int


def compare_versions(older: DatasetVersion, newer: DatasetVersion) -> Differences:
    """Compare two versions by the ids of their rows."""
    after, before = _read_spots(newer, "spot"), _read_spots(older, "before")
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
    """A row as a page shows it: where it stands and stood, and both values of each field that differs."""

    row: dict[str, Any]
    split: str
    split_before: str
    fields: list[tuple[str, Any, Any]]


def build_page(
    older: DatasetVersion, newer: DatasetVersion, found: Differences, kind: str, number: str | None
) -> tuple[Page[int], list[Change]]:
    """A page of the rows of one kind, long values cut. ``kind`` is one of KINDS."""
    rows: pa.Table = getattr(found, kind)
    page = Paginator(range(len(rows)), PAGE_ROWS).get_page(number)
    shown = rows.slice(max(page.start_index() - 1, 0), PAGE_ROWS).to_pydict()
    after = _read_rows(newer, shown.get("spot", []))
    before = _read_rows(older, shown.get("before", []))
    pairs = zip_longest(before, after, fillvalue=None)
    return page, [_build_change(was, now) for was, now in pairs]


def _read_rows(version: DatasetVersion, spots: list[int]) -> list[dict[str, Any]]:
    """The rows at these spots, in the same order, each with its split and its number there."""
    found = {}
    for split, near in groupby(sorted(spots), key=lambda spot: Split(spot >> SPLIT_BITS)):
        places = [spot & (2**SPLIT_BITS - 1) for spot in near]
        for place, row in zip(places, split_files.read_rows(version, split.label, places), strict=True):
            shown = build_preview(place + 1, row)
            found[(split << SPLIT_BITS) + place] = shown | {"row_id": row["row_id"], "split": split.label}
    return [found[spot] for spot in spots]


def _build_change(was: dict[str, Any] | None, now: dict[str, Any] | None) -> Change:
    row = now or was or {}
    if was is None or now is None:
        return Change(row, row["split"], row["split"], [])
    names = dict.fromkeys([*was["item"], *now["item"]])
    pairs = [(name, was["item"].get(name), now["item"].get(name)) for name in names]
    differing = [(name, before, after) for name, before, after in pairs if before != after]
    return Change(row, now["split"], was["split"], differing)


def _read_spots(version: DatasetVersion, name: str) -> pa.Table:
    parts = []
    for split in (each for each in Split if not each.sealed):
        with open_columns(version.files[split.label]["columns"]) as columns:
            table = columns.read(columns=KEYS)
        first = split << SPLIT_BITS
        parts.append(table.append_column(name, pa.array(range(first, first + len(table)), pa.int64())))
    return pa.concat_tables(parts)


def _keep_first_per_prompt(rows: pa.Table, spot: str) -> pa.Table:
    """The first row of each prompt, so that a prompt that stands there often is paired once."""
    return rows.group_by("prompt_id").aggregate([(spot, "min")]).rename_columns({f"{spot}_min": spot})


def _split_numbers(spots: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.shift_right(spots, SPLIT_BITS)
