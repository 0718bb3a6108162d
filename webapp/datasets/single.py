"""One row of a version, whole, found by its id. Rows of the sealed test split are not found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from . import contents
from .columns import KEYS, opened
from .models import DatasetVersion
from .rows import Split

MOST_ALIKE = 10


@dataclass(frozen=True)
class Place:
    """A row and where it stands: its number from 1, the ids of the rows beside it (None at an end), and of
    others of its split whose prompt differs in case and white space at most."""

    row: dict[str, Any]
    split: Split
    number: int
    earlier: str | None
    later: str | None
    alike: list[str]


def row_of(version: DatasetVersion, row_id: str) -> Place | None:
    """The row with this id; None if no open split has it."""
    try:
        wanted = pa.scalar(bytes.fromhex(row_id), pa.binary(16))
    except (ValueError, pa.ArrowInvalid):
        return None
    for split in (each for each in Split if not each.sealed):
        with opened(version.files[split.label]["columns"]) as columns:
            keys = columns.read(columns=KEYS)
        place = pc.index(keys["row_id"], wanted).as_py()
        if place >= 0:
            return _place(version, split, place, keys)
    return None


def _place(version: DatasetVersion, split: Split, place: int, keys: pa.Table) -> Place:
    same_prompt = keys.filter(pc.equal(keys["prompt_id"], keys["prompt_id"][place]))["row_id"]
    alike = [each.hex() for each in same_prompt.slice(0, MOST_ALIKE + 1).to_pylist()]
    row = contents.at(version, split.label, [place])[0]
    return Place(
        row=row,
        split=split,
        number=place + 1,
        earlier=keys["row_id"][place - 1].as_py().hex() if place else None,
        later=keys["row_id"][place + 1].as_py().hex() if place + 1 < len(keys) else None,
        alike=[each for each in alike if each != row["row_id"]][:MOST_ALIKE],
    )
