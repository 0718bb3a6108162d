"""File formats: detect the format by first bytes and name, and read rows one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING

from webapp.datasets.content import problems
from webapp.datasets.content.problems import RowError
from webapp.datasets.content.rows import Columns, Row
from webapp.datasets.formats import csv_text, jsonl, parquet

if TYPE_CHECKING:
    from workers.contract.json_types import JsonValue

NumberedRow = tuple[int, Row | RowError]
Reader = Callable[[IO[bytes], Columns | None], Iterator[NumberedRow]]

READERS: dict[str, Reader] = {
    "jsonl": jsonl.read_rows,
    "csv": csv_text.read_rows,
    "parquet": parquet.read_rows,
}
# Readers of a table's column names and first rows.
SAMPLERS: dict[str, Callable[[IO[bytes]], tuple[list[str], Sequence[Mapping[str, JsonValue]]]]] = {
    "csv": csv_text.sample_rows,
    "parquet": parquet.sample_rows,
}
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}


def detect_format(head: bytes, filename: str) -> str:
    """Return the key in READERS for a file that starts with ``head``. Raises FileError."""
    if not head:
        raise problems.empty()
    for magic, kind in COMPRESSED.items():
        if head.startswith(magic):
            raise problems.compressed(kind)
    if head.startswith(b"PAR1"):
        return "parquet"
    return _text_format(head, filename)


def _text_format(head: bytes, filename: str) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise problems.utf16()
    if b"\0" in head:
        raise problems.binary()
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    ending = next((kind for end, kind in ENDINGS.items() if filename.lower().endswith(end)), "")
    if start.startswith(b"[") and ending != "csv":
        raise problems.json_array()
    if ending == "parquet":
        raise problems.broken_parquet("it does not begin like a Parquet file")
    if not ending and start.startswith(b"{"):
        return "jsonl"
    if not ending:
        raise problems.unknown_format(filename)
    return ending


def read_rows(kind: str, file: IO[bytes], columns: Columns | None) -> Iterator[NumberedRow]:
    """Yield every row or its error, with its line (row number for Parquet). Raises FileError.

    ``columns`` names the prompt's column; None looks for the usual names.
    """
    return READERS[kind](file, columns)
