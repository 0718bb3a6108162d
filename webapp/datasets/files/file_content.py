"""Read the content of a file of the API piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.files.storage import default_storage

from webapp.datasets.content.problems import RowError
from webapp.datasets.files.models import ApiFile
from webapp.datasets.files.version_files import read_split_lines
from webapp.datasets.formats.lines import read_lines

CHUNK_BYTES = 2**18


def read_lines_of(file: ApiFile) -> Iterator[bytes]:
    """Yield the lines of a file for training. Raises FileNotFoundError if its bytes are gone."""
    if file.version:
        yield from read_split_lines(file)
        return
    with default_storage.open(file.key) as stored:
        for _, text in read_lines(stored):
            assert not isinstance(text, RowError), f"{file.uid} was checked when it was stored"
            yield text.rstrip("\r\n").encode() + b"\n"


def read_chunks(file: ApiFile) -> Iterator[bytes]:
    """Yield the content of a file, at most about ``CHUNK_BYTES`` and a line at once."""
    if not file.version:
        with default_storage.open(file.key) as stored:
            yield from iter(lambda: stored.read(CHUNK_BYTES), b"")
        return
    chunk = bytearray()
    for line in read_split_lines(file):
        chunk += line
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)
