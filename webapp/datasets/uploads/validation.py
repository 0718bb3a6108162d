"""Check a file in one pass over its rows, and build the report that the uploader decides on."""

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
from webapp.datasets.content.row_types import RowPreview
from webapp.datasets.content.rows import SPLIT, Columns, Row, Split
from webapp.datasets.reports import UploadReport
from webapp.datasets.uploads import column_mapping
from webapp.datasets.uploads.preview import build_preview
from webapp.datasets.versions.splits import Shares, SplitIndex, open_index
from workers.contract.json_types import JsonObject

EarlierSplits = Mapping[bytes, Split]
PassRows = Callable[[Iterable[formats.NumberedRow]], Iterable[formats.NumberedRow]]


@dataclass(frozen=True)
class Options:
    """The uploader's options: the prompt's column, columns to leave out, and held-out shares.

    ``reads_split``, ``validation_from`` and ``split`` are those of ``Columns``.
    """

    prompt_column: str = ""
    messages_column: str = ""
    validation: int = 10
    test: int = 10
    left_out: Sequence[str] | None = None
    reads_split: bool = True
    validation_from: int | None = None
    split: str = SPLIT

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Options:
        return cls(**stored)

    @property
    def columns(self) -> Columns | None:
        """The prompt's column; None lets the reader look for the usual names."""
        if not self.prompt_column and not self.messages_column:
            return None
        left_out = None if self.left_out is None else frozenset(self.left_out)
        messages = self.messages_column or "messages"
        return Columns(
            messages, self.prompt_column, left_out, self.reads_split, self.validation_from, self.split
        )

    @property
    def shares(self) -> Shares:
        return Shares(self.validation, self.test)

    def as_json(self) -> JsonObject:
        return asdict(self)


@dataclass
class Tally:
    """Findings of one pass over the rows."""

    bad: int = 0
    duplicates: int = 0
    errors: list[Problem] = field(default_factory=list)
    duplicate_lines: list[list[int]] = field(default_factory=list)
    candidates: list[tuple[bytes, RowPreview]] = field(default_factory=list)
    profile: FieldProfile = field(default_factory=FieldProfile)

    def add_error(self, line: int, error: RowError) -> None:
        self.bad += 1
        if len(self.errors) < ERRORS_SHOWN:
            self.errors.append(Problem.from_row_error(line, error))

    def add_duplicate(self, line: int, first: int) -> None:
        self.duplicates += 1
        if len(self.duplicate_lines) < EXAMPLES_SHOWN:
            self.duplicate_lines.append([line, first])

    def add_row(self, line: int, row: Row, index: SplitIndex) -> None:
        self.profile.add(row)
        if len(self.candidates) < PREVIEW_CANDIDATES and not index.get_split(row.digest).sealed:
            self.candidates.append((row.digest, build_preview(line, json.loads(row.body))))

    def select_preview(self, index: SplitIndex) -> list[RowPreview]:
        """Return the first rows outside the sealed split. Call it once the splits are final."""
        open_rows = (row for digest, row in self.candidates if not index.get_split(digest).sealed)
        return list(islice(open_rows, PREVIEW_ROWS))


def check_file(
    file: IO[bytes],
    kind: str,
    options: Options,
    earlier: EarlierSplits | None = None,
    watch: PassRows = iter,
) -> UploadReport:
    """Check the whole file.

    The report of a file that cannot be read to its end has ``refused`` set.
    ``earlier`` gives the splits of prompts in the previous version. The rows pass through ``watch``.
    """
    tally = Tally()
    with open_index(options.shares, earlier) as index:
        try:
            fill_index(index, tally, file, kind, options, watch)
            refusal = None
        except FileError as error:
            refusal = error
        report = build_report(index, tally, kind, refusal)
    file.seek(0)
    report["table"] = column_mapping.describe_columns(file, kind, options.columns)
    return report


def fill_index(
    index: SplitIndex, tally: Tally, file: IO[bytes], kind: str, options: Options, watch: PassRows = iter
) -> None:
    """Add every row of the file to the index. Raises FileError."""
    count = 0
    for line, found in watch(formats.read_rows(kind, file, options.columns)):
        count += 1
        if count > MAX_ROWS:
            raise problems.too_many_rows()
        if isinstance(found, RowError):
            tally.add_error(line, found)
        elif (first := index.add(found, line)) is not None:
            tally.add_duplicate(line, first)
        else:
            tally.add_row(line, found, index)
    if not count:
        raise problems.no_rows()


def build_report(index: SplitIndex, tally: Tally, kind: str, refusal: FileError | None) -> UploadReport:
    """Make the splits final and build the report for pages and versions."""
    errors = [problem.as_json() for problem in tally.errors]
    if refusal:
        whole_file = Problem(refusal.line, refusal.reason, refusal.remedy, refusal.excerpt)
        errors.insert(0, whole_file.as_json())
    index.finish()
    splits, profile = index.count_rows(), tally.profile.as_json()
    return {
        "format": kind,
        "refused": refusal is not None,
        "recheckable": refusal is not None and refusal.keep,
        "rows": sum(splits.values()),
        "bad": tally.bad,
        "errors": errors,
        "duplicates": {"count": tally.duplicates, "examples": tally.duplicate_lines},
        "splits": splits,
        "stated": index.count_stated(),
        "counted": index.counted,
        "overlap": index.find_overlap(),
        "preview": tally.select_preview(index),
        "prompt_characters": profile["prompt_characters"],
        "messages": profile["messages"],
        "fields": profile["fields"],
        "left_out": profile["left_out"],
    }


def build_refusal(error: FileError) -> UploadReport:
    """Build the report on a file whose rows cannot be read at all."""
    with open_index(Shares()) as index:
        return build_report(index, Tally(), "", error)


def read_kept_rows(
    file: IO[bytes], kind: str, options: Options, index: SplitIndex
) -> Iterator[tuple[Split, Row]]:
    """Yield (split, row) for every row that a version keeps, in the file's order."""
    for line, found in formats.read_rows(kind, file, options.columns):
        if isinstance(found, Row) and (split := index.find_kept_split(found, line)) is not None:
            yield split, found
