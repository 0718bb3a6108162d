"""Checking a file: one pass over its rows gives the report that its uploader decides on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import IO, Any

from webapp.datasets import formats
from webapp.datasets.content import problems
from webapp.datasets.content.field_profile import FieldProfile
from webapp.datasets.content.limits import (
    ERRORS_SHOWN,
    EXAMPLES_SHOWN,
    MAX_ROWS,
    PREVIEW_CANDIDATES,
    PREVIEW_ROWS,
)
from webapp.datasets.content.problems import FileError, Problem, RowError
from webapp.datasets.content.rows import Columns, Row, Split
from webapp.datasets.uploads import column_mapping
from webapp.datasets.uploads.preview import build_preview
from webapp.datasets.versions.splits import Shares, SplitIndex, open_index


@dataclass(frozen=True)
class Options:
    """What the uploader chose: where the prompt is, and how much is held out."""

    prompt_column: str = ""
    messages_column: str = ""
    validation: int = 10
    test: int = 10
    left_out: Sequence[str] | None = None

    @property
    def columns(self) -> Columns | None:
        """None lets the reader look for the usual names."""
        if not self.prompt_column and not self.messages_column:
            return None
        left_out = None if self.left_out is None else frozenset(self.left_out)
        return Columns(self.messages_column or "messages", self.prompt_column, left_out)

    @property
    def shares(self) -> Shares:
        return Shares(self.validation, self.test)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Tally:
    """What one pass over the rows finds."""

    bad: int = 0
    duplicates: int = 0
    errors: list[Problem] = field(default_factory=list)
    copies: list[list[int]] = field(default_factory=list)
    candidates: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)
    fields: FieldProfile = field(default_factory=FieldProfile)

    def refuse(self, line: int, error: RowError) -> None:
        self.bad += 1
        if len(self.errors) < ERRORS_SHOWN:
            self.errors.append(Problem.of_row(line, error))

    def repeat(self, line: int, first: int) -> None:
        self.duplicates += 1
        if len(self.copies) < EXAMPLES_SHOWN:
            self.copies.append([line, first])

    def take(self, line: int, row: Row, index: SplitIndex) -> None:
        self.fields.add(row)
        if len(self.candidates) < PREVIEW_CANDIDATES and not index.split_of(row.digest).sealed:
            self.candidates.append((row.digest, build_preview(line, json.loads(row.body))))

    def preview(self, index: SplitIndex) -> list[dict[str, Any]]:
        """The first rows that are not in the sealed split."""
        shown = (row for digest, row in self.candidates if not index.split_of(digest).sealed)
        return list(islice(shown, PREVIEW_ROWS))


EarlierSplits = Mapping[bytes, Split]
TrackRows = Callable[[Iterable[formats.NumberedRow]], Iterable[formats.NumberedRow]]


def check_file(
    file: IO[bytes],
    kind: str,
    options: Options,
    earlier: EarlierSplits | None = None,
    watch: TrackRows = iter,
) -> dict[str, Any]:
    """The report on the whole file. A file that cannot be read on gets one whose ``refused`` is set.

    ``earlier`` holds the splits of the prompts in the version before. ``watch`` sees the rows pass.
    """
    tally = Tally()
    with open_index(options.shares, earlier) as index:
        try:
            fill_index(index, tally, file, kind, options, watch)
            refusal = None
        except FileError as error:
            refusal = error
        found = build_report(index, tally, kind, refusal)
    file.seek(0)
    return found | {"table": column_mapping.describe_columns(file, kind, options.columns)}


def fill_index(
    index: SplitIndex, tally: Tally, file: IO[bytes], kind: str, options: Options, watch: TrackRows = iter
) -> None:
    """Take every row into the index. Raises FileError."""
    count = 0
    for line, found in watch(formats.read_rows(kind, file, options.columns)):
        count += 1
        if count > MAX_ROWS:
            raise problems.too_many_rows()
        if isinstance(found, RowError):
            tally.refuse(line, found)
        elif (first := index.add(found, line)) is not None:
            tally.repeat(line, first)
        else:
            tally.take(line, found, index)
    if not count:
        raise problems.no_rows()


def build_report(index: SplitIndex, tally: Tally, kind: str, refusal: FileError | None) -> dict[str, Any]:
    """Everything that pages and versions show about the file."""
    errors = [problem.as_json() for problem in tally.errors]
    if refusal:
        errors.insert(0, Problem(refusal.line, refusal.reason, refusal.fix, refusal.excerpt).as_json())
    index.settle()
    splits = index.counts()
    return {
        "format": kind,
        "refused": refusal is not None,
        "recheckable": refusal is not None and refusal.keep,
        "rows": sum(splits.values()),
        "bad": tally.bad,
        "errors": errors,
        "duplicates": {"count": tally.duplicates, "examples": tally.copies},
        "splits": splits,
        "stated": index.stated(),
        "counted": index.counted,
        "overlap": index.overlap(),
        "preview": tally.preview(index),
        **tally.fields.as_json(),
    }


def build_refusal(error: FileError) -> dict[str, Any]:
    """The report on a file of which no row could be read."""
    with open_index(Shares()) as index:
        return build_report(index, Tally(), "", error)


def read_kept_rows(
    file: IO[bytes], kind: str, options: Options, index: SplitIndex
) -> Iterator[tuple[Split, Row]]:
    """(split, row) for every row that a version keeps, in the file's order."""
    for line, found in formats.read_rows(kind, file, options.columns):
        if isinstance(found, Row) and (split := index.place(found, line)) is not None:
            yield split, found
