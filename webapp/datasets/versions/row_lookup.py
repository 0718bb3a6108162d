"""Look up rows of a version by id. Rows of the sealed test split are never found."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from django.http import QueryDict

from webapp.datasets.content.row_types import StoredRow
from webapp.datasets.content.rows import Split
from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions import split_files
from webapp.datasets.versions.columns import KEYS, open_columns
from webapp.datasets.versions.row_search import encode_search, find_positions, parse_filters

MOST_ALIKE = 10
ROW_ID_DIGITS = 32


@dataclass(frozen=True)
class LocatedRow:
    """A row, its number in the split from 1, and the ids of its neighbours (None at an end).

    ``alike`` are rows of the split whose prompts differ in case and white space at most. In a search
    ``match`` is the row's number among the ``matches``, and the neighbours are matches too.
    """

    row: StoredRow
    split: Split
    number: int
    earlier: str | None
    later: str | None
    alike: list[str]
    match: int = 0
    matches: int = 0


def find_row(version: DatasetVersion, row_id: str, query: QueryDict | None = None) -> LocatedRow | None:
    """Find the row in the open splits, or return None.

    ``query`` is the search that led to it, if any.
    """
    try:
        wanted = pa.scalar(bytes.fromhex(row_id), pa.binary(16))
    except (ValueError, pa.ArrowInvalid):
        return None
    for split in (each for each in Split if not each.sealed):
        with open_columns(version.files[split.label]["columns"]) as columns:
            keys = columns.read(columns=KEYS)
        position = pc.index(keys["row_id"], wanted).as_py()
        if position >= 0:
            return _describe_row(version, split, position, keys, _find_matches(version, split, query))
    return None


def _find_matches(version: DatasetVersion, split: Split, query: QueryDict | None) -> pa.ChunkedArray | None:
    """Return the positions of the rows that the search finds; None without a search."""
    if query is None or not encode_search(query):
        return None
    with open_columns(version.files[split.label]["columns"]) as columns:
        return find_positions(columns, query.get("q", "").strip(), parse_filters(query))


def _find_neighbours(
    position: int, rows: int, matches: pa.ChunkedArray | None
) -> tuple[list[int | None], int]:
    """Return the neighbours' positions, and the number among the matches (0 without a search)."""
    at = pc.index(matches, pa.scalar(position, pa.uint64())).as_py() if matches is not None else -1
    if matches is None or at < 0:
        return [position - 1 if position else None, position + 1 if position + 1 < rows else None], 0
    last = len(matches) - 1
    return [matches[at - 1].as_py() if at else None, matches[at + 1].as_py() if at < last else None], at + 1


def find_rows(version: DatasetVersion, row_ids: Collection[str]) -> dict[str, StoredRow]:
    """Return the rows with these ids, by id.

    Reads the ids of the open splits, and only those rows.
    """
    missing, found = set(filter(_is_row_id, row_ids)), dict[str, StoredRow]()
    for split in (each for each in Split if not each.sealed):
        if missing and "columns" in version.files.get(split.label, {}):
            rows = split_files.read_rows(version, split.label, _find_positions(version, split, missing))
            found |= {row["row_id"]: row for row in rows}
            missing -= found.keys()
    return found


def _is_row_id(text: str) -> bool:
    return len(text) == ROW_ID_DIGITS and set(text) <= set("0123456789abcdef")


def _find_positions(version: DatasetVersion, split: Split, row_ids: Collection[str]) -> list[int]:
    """Return the ascending positions of the rows with these ids in a split."""
    with open_columns(version.files[split.label]["columns"]) as columns:
        keys = columns.read(columns=["row_id"])["row_id"]
    wanted = pa.array([bytes.fromhex(row_id) for row_id in row_ids], pa.binary(16))
    positions: list[int] = pc.indices_nonzero(pc.is_in(keys, value_set=wanted)).to_pylist()
    return positions


def _describe_row(
    version: DatasetVersion, split: Split, position: int, keys: pa.Table, matches: pa.ChunkedArray | None
) -> LocatedRow:
    same_prompt = keys.filter(pc.equal(keys["prompt_id"], keys["prompt_id"][position]))["row_id"]
    alike = [each.hex() for each in same_prompt.slice(0, MOST_ALIKE + 1).to_pylist()]
    row = split_files.read_rows(version, split.label, [position])[0]
    neighbours, match = _find_neighbours(position, len(keys), matches)
    earlier, later = (None if at is None else keys["row_id"][at].as_py().hex() for at in neighbours)
    return LocatedRow(
        row=row,
        split=split,
        number=position + 1,
        earlier=earlier,
        later=later,
        alike=[each for each in alike if each != row["row_id"]][:MOST_ALIKE],
        match=match,
        matches=len(matches) if matches is not None and match else 0,
    )
