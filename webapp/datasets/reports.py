"""The JSON that uploads and versions keep: reports on files, histograms, stored split files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict

from webapp.datasets.content.row_types import RowPreview

if TYPE_CHECKING:
    from workers.contract.json_types import JsonObject


class Spread(TypedDict):
    """Minimum, mean and maximum of some numbers."""

    min: float
    mean: float
    max: float


class FieldReport(TypedDict):
    """One field over all rows. ``types`` counts values by type, ``values`` lists (text, count)."""

    name: str
    present: int
    types: dict[str, int]
    numbers: Spread | None
    lengths: Spread | None
    values: list[tuple[str, int]] | None


class Profile(TypedDict):
    """The fields of a file and the size of its prompts.

    ``left_out`` counts values of further fields.
    """

    prompt_characters: Spread | None
    messages: Spread | None
    fields: list[FieldReport]
    left_out: int


class Duplicates(TypedDict):
    """Exact copies of rows. An example is ``[line, line of the first copy]``."""

    count: int
    examples: list[list[int]]


class SharedPrompt(TypedDict):
    """A prompt in several splits, with its lines by split."""

    prompt: str
    lines: dict[str, list[int]]


class Overlap(TypedDict):
    """Prompts in several splits, and the rows that would be dropped to end this."""

    prompts: int
    rows: int
    examples: list[SharedPrompt]


class ProblemReport(TypedDict):
    """An error of a file or of one row. ``record`` is there where the line does not give it."""

    line: int | None
    reason: str
    remedy: str
    excerpt: str
    record: NotRequired[int]


class TableColumn(TypedDict):
    """A column of an uploaded table; ``role`` is a key of ``column_mapping.ROLES``."""

    name: str
    role: str
    samples: list[str]


class UploadReport(TypedDict, total=False):
    """The result of checking a file. A committed upload keeps the first five keys only.

    ``refused``: the file cannot be used. ``recheckable``: it may be usable with other columns.
    """

    format: str
    refused: bool
    recheckable: bool
    bad: int
    errors: list[ProblemReport]
    rows: int
    duplicates: Duplicates
    splits: dict[str, int]
    stated: int
    counted: bool
    overlap: Overlap
    preview: list[RowPreview]
    table: list[TableColumn]
    prompt_characters: Spread | None
    messages: Spread | None
    fields: list[FieldReport]
    left_out: int


class Bar(TypedDict, total=False):
    """A bar of a histogram: the rows with ``value``, or from ``low`` to below ``high``."""

    value: str | float
    low: float
    high: float
    count: int


class Histogram(TypedDict, total=False):
    """The values of one column.

    ``kind`` is values, numbers or lengths (of texts, in characters).
    ``missing`` counts rows without a value; ``others`` counts values without a bar.
    """

    column: str
    kind: str
    missing: int
    bars: list[Bar]
    others: int
    other_rows: int
    min: float | None
    max: float | None
    mean: float | None


class VersionReport(TypedDict, total=False):
    """The upload's report without rows, and what committing added.

    ``offsets``: by split, the byte at which every 500th row begins. ``columns``: histograms of open splits.
    """

    format: str
    bad: int
    duplicates: Duplicates
    stated: int
    counted: bool
    overlap: Overlap
    prompt_characters: Spread | None
    messages: Spread | None
    fields: list[FieldReport]
    left_out: int
    splits: dict[str, int]
    offsets: dict[str, list[int]]
    columns: dict[str, list[Histogram]]
    dropped: int
    drop_overlap: bool
    options: JsonObject


class SplitFile(TypedDict):
    """A stored file of a version. ``columns`` is the key of the Parquet file for searching it.

    ``training_bytes`` is the size of its rows in a file of the API.
    """

    key: str
    sha256: str
    rows: int
    bytes: int
    training_bytes: int
    columns: NotRequired[str]
