"""Check the bytes of a file before it is stored."""

from __future__ import annotations

from typing import IO

from webapp.core.api.errors import ApiError
from webapp.datasets import formats
from webapp.datasets.content import problems
from webapp.datasets.content.problems import FileError, RowError
from webapp.datasets.files.models import Purpose
from webapp.datasets.formats import jsonl

HEAD_BYTES = 4096
NAME = "file.jsonl"  # the content decides, whatever the caller's name for the file is


def check_content(stream: IO[bytes], purpose: str) -> int | None:
    """Check a file from its start and return its rows; None unless it is for training.

    Raises ApiError with the first wrong line of a file that is empty or should be JSON Lines and is not.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    try:
        if purpose != Purpose.FINE_TUNE:
            if not head:
                raise problems.empty()
            return None
        if formats.detect_format(head, NAME) != "jsonl":
            raise problems.binary()
        return _count_objects(stream)
    except FileError as error:
        raise _refuse(error, error.line) from error


def _count_objects(stream: IO[bytes]) -> int:
    """Count the lines with an object; what it holds depends on the method of training."""
    rows = 0
    for line, _, found in jsonl.read_objects(stream):
        if isinstance(found, RowError):
            raise _refuse(found, line)
        rows += 1
    if not rows:
        raise problems.empty()
    return rows


def _refuse(error: FileError | RowError, line: int | None) -> ApiError:
    return ApiError(
        describe_problem(error.reason, error.remedy, line), param="file", code="invalid_file_format"
    )


def describe_problem(reason: str, remedy: str, line: int | None) -> str:
    """Return the message about a file, with its line if one is at fault."""
    return f"Line {line}: {reason} {remedy}" if line else f"{reason} {remedy}"
