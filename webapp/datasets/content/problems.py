"""Errors of uploaded files and rows, each with the reason and the remedy that users read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webapp.datasets.content.limits import (
    EXCERPT_CHARACTERS,
    MAX_CELL_BYTES,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_LINE_BYTES,
    MAX_MESSAGES,
    MAX_NAME,
    MAX_ROWS,
)

if TYPE_CHECKING:
    from webapp.datasets.reports import ProblemReport


def cut_excerpt(text: str, at: int = 0) -> str:
    """Return a short excerpt around position ``at``, with unprintable characters escaped."""
    first = max(0, at - EXCERPT_CHARACTERS // 2) if at > EXCERPT_CHARACTERS // 2 else 0
    cut = text[first : first + EXCERPT_CHARACTERS]
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut.rstrip("\r\n"))
    return ("…" if first else "") + shown + ("…" if len(text.rstrip()) > first + len(cut) else "")


class RowError(ValueError):
    """One row cannot be used; its neighbours can.

    ``record`` is its number if a row may span lines.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy
        self.excerpt = ""
        self.record: int | None = None

    def quote(self, text: str, at: int = 0) -> RowError:
        """Add an excerpt of the row, unless there is one, and return the error."""
        self.excerpt = self.excerpt or cut_excerpt(text, at)
        return self


class FileError(ValueError):
    """The file cannot be read past this point. ``line`` is None if the whole file is at fault."""

    def __init__(
        self, reason: str, remedy: str, line: int | None = None, keep: bool = False, excerpt: str = ""
    ) -> None:
        super().__init__(reason)
        self.reason, self.remedy, self.line, self.excerpt = reason, remedy, line, excerpt
        self.keep = keep  # other columns may help, so the bytes are stored


@dataclass(frozen=True)
class Problem:
    """An error and its line, as stored in reports."""

    line: int | None
    reason: str
    remedy: str
    excerpt: str = ""
    record: int | None = None

    @classmethod
    def from_row_error(cls, line: int, error: RowError) -> Problem:
        return cls(line, error.reason, error.remedy, error.excerpt, error.record)

    def as_json(self) -> ProblemReport:
        """Return JSON that PostgreSQL accepts: a broken file may put NUL into the reason."""
        reason = self.reason.replace("\0", "\\0").encode(errors="replace").decode()
        found: ProblemReport = {
            "line": self.line,
            "reason": reason,
            "remedy": self.remedy,
            "excerpt": self.excerpt,
        }
        if self.record:
            found["record"] = self.record
        return found


# --- the file as a whole ----------------------------------------------------------------------------


def empty() -> FileError:
    return FileError("The file is empty.", "Upload a file with at least one row.")


def no_rows() -> FileError:
    return FileError("The file has no rows.", "Upload a file with at least one row below its header.")


def compressed(kind: str) -> FileError:
    return FileError(
        f"The file is compressed ({kind}).", "Unpack it and upload the JSONL, CSV or Parquet file itself."
    )


def json_array() -> FileError:
    return FileError(
        "The file is one JSON array, not JSON Lines.",
        "Write one object per line, for example with: jq -c '.[]' data.json > data.jsonl",
        line=1,
    )


def unknown_format(filename: str) -> FileError:
    return FileError(
        f"Unsupported file type: {filename}.",
        "Give it a name that ends in .jsonl, .csv, .tsv or .parquet.",
    )


def binary() -> FileError:
    return FileError(
        "The file is binary: it has NUL bytes instead of text.",
        "Upload JSONL or CSV as UTF-8 text, or a Parquet file.",
        line=1,
    )


def utf16() -> FileError:
    return FileError("The file is encoded as UTF-16.", "Save it again as UTF-8.", line=1)


def too_many_rows() -> FileError:
    return FileError(f"The file has more than {MAX_ROWS:,} rows.", "Upload a part of it.")


def too_large(size: int, limit: int) -> FileError:
    return FileError(
        f"The file has {size:,} bytes; at most {limit:,} are allowed.",
        "Upload a part of it, or ask your operator to raise GROOVE_MAX_UPLOAD_BYTES.",
    )


def no_prompt_column(columns: list[str]) -> FileError:
    return FileError(
        f"The prompt column was not recognized. The columns are: {', '.join(columns[:40])}.",
        "Choose the prompt column under “Columns and splits”, and check again.",
        keep=True,
    )


def missing_column(name: str, columns: list[str]) -> FileError:
    return FileError(
        f"There is no column {name!r}. The columns are: {', '.join(columns[:40])}.",
        "Choose one of these columns and check again.",
        keep=True,
    )


def bad_header(detail: str, line: int, text: str) -> FileError:
    return FileError(
        f"The header row {detail}.",
        "Give every column its own name in the first line.",
        line=line,
        excerpt=cut_excerpt(text),
    )


def broken_csv(detail: str, line: int, record: int, excerpt: str) -> FileError:
    return FileError(
        f"The CSV cannot be read past the start of record {record}, shown here: {detail}.",
        'Check the quotes: a cell with a quote, a comma or a line break is written "like ""this""". '
        "If the file was cut off, upload it again.",
        line=line,
        excerpt=excerpt,
    )


def broken_parquet(detail: str) -> FileError:
    return FileError(
        f"The Parquet file cannot be read: {detail}.",
        "It may be cut off or damaged. Write it again and upload it.",
    )


def parquet_bomb(file_size: int) -> FileError:
    return FileError(
        f"The Parquet file of {file_size:,} bytes unpacks to more data than is allowed.",
        "Upload smaller files, or write it with less compression.",
    )


def parquet_too_large_inside() -> FileError:
    return FileError(
        "The Parquet file needs more than 1 GiB of memory to be unpacked.",
        "Write it with smaller row groups and pages, and without very long texts.",
    )


def too_many_columns(count: int) -> FileError:
    return FileError(
        f"There are {count:,} columns or fields; at most {MAX_FIELDS} are allowed.", "Keep those you need."
    )


# --- one row ----------------------------------------------------------------------------------------


def line_too_long() -> RowError:
    return RowError(
        f"The line is longer than {MAX_LINE_BYTES:,} bytes.", "Shorten the row, or split the file into lines."
    )


def not_utf8(offset: int, guess: str) -> RowError:
    like = f" It looks like Windows-1252, where it would be “{guess}”." if guess else ""
    return RowError(
        f"The line is not UTF-8: byte {offset + 1} does not fit.{like}",
        "Save the file again as UTF-8 (in Excel: “CSV UTF-8”).",
    )


def not_json(detail: str, column: int) -> RowError:
    return RowError(f"Invalid JSON at column {column}: {detail}.", "Write one complete JSON object per line.")


def cut_off(detail: str) -> RowError:
    return RowError(
        f"The last line is not complete JSON ({detail}); the file seems to have been cut off.",
        "Upload the whole file again.",
    )


def number_too_long() -> RowError:
    return RowError("A number has too many digits.", "Write it as text, in quotes.")


def not_an_object(kind: str) -> RowError:
    return RowError(
        f"The line contains {kind}, not an object.", 'Write an object such as {"messages": […], …}.'
    )


def duplicate_key(key: str) -> RowError:
    return RowError(f"The key {key[:80]!r} appears twice in one object.", "Keep one of the two.")


def duplicate_map_key(name: str) -> RowError:
    return RowError(f"A map in the column {name!r} has a key twice.", "Keep one of the two.")


def not_finite(name: str = "") -> RowError:
    return RowError(
        f"A number is {name or 'NaN or infinite'}, which JSON cannot represent.", "Use null or a number."
    )


def nul_character() -> RowError:
    return RowError("A text contains the NUL character (\\u0000), which cannot be stored.", "Remove it.")


def half_surrogate() -> RowError:
    return RowError(
        "A text contains half a surrogate pair, which is not a character.",
        "Remove it, or write the whole pair.",
    )


def too_deep() -> RowError:
    return RowError(
        f"Values are nested more than {MAX_DEPTH} deep.", "Flatten them, or keep them as JSON text."
    )


def too_many_fields(count: int) -> RowError:
    return RowError(
        f"The row has {count:,} fields; at most {MAX_FIELDS} are allowed.", "Keep those the grader needs."
    )


def name_too_long() -> RowError:
    return RowError(f"A field's name is longer than {MAX_NAME} characters.", "Give it a short name.")


def cell_too_large(name: str) -> RowError:
    return RowError(f"The cell {name!r} is larger than {MAX_CELL_BYTES:,} bytes.", "Shorten it.")


def wrong_cells(found: int, expected: int) -> RowError:
    return RowError(
        f"The row has {found} cells; the header has {expected}.",
        "Put quotes around cells that contain commas or line breaks.",
    )


def bytes_cell(name: str) -> RowError:
    return RowError(f"The cell {name!r} contains raw bytes.", "Store text, numbers, lists or objects.")


def no_messages() -> RowError:
    return RowError(
        "The row has no messages.",
        'Add "messages": [{"role": "user", "content": "…"}]. On the upload page you can also name the field '
        "that holds the prompt, under “Columns and splits”.",
    )


def no_prompt(name: str) -> RowError:
    return RowError(f"The field {name[:80]!r}, which should hold the prompt, is missing.", "Fill it in.")


def bad_messages(detail: str) -> RowError:
    return RowError(f"messages {detail}.", 'Write a list such as [{"role": "user", "content": "…"}].')


def too_many_messages() -> RowError:
    return RowError(f"The row has more than {MAX_MESSAGES} messages.", "Shorten the conversation.")


def bad_message(number: int, detail: str) -> RowError:
    return RowError(
        f"Message {number} {detail}.",
        'Each message is an object with "role" and "content", and the content is a text.',
    )


def bad_role(number: int, role: object) -> RowError:
    return RowError(
        f"Message {number} has the role {str(role)[:40]!r}.",
        "Use system, developer, user, assistant or tool.",
    )


def last_not_user(number: int, role: str) -> RowError:
    """Refuse what OpenAI's reinforcement fine-tuning refuses: the model answers a user's message."""
    reason = f"The last message, number {number}, has the role {role!r}; a prompt ends with a user message."
    if role != "assistant":
        return RowError(reason, "End with a user message, or remove the row.")
    return RowError(
        reason,
        "Move a reference answer into a field, which graders read as item.reference, for example with: "
        "jq -c '.reference = .messages[-1].content | del(.messages[-1])' data.jsonl > rows.jsonl",
    )


def empty_prompt() -> RowError:
    return RowError("The prompt is empty.", "Write a prompt, or remove the row.")


def bad_tools(detail: str) -> RowError:
    return RowError(
        f"tools {detail}.",
        'Write a list such as [{"type": "function", "function": {"name": "…", "parameters": {…}}}], '
        "or give the field another name.",
    )


def bad_split(value: object) -> RowError:
    return RowError(
        f"The field split is {str(value)[:40]!r}.",
        "Use train, validation or test, or give the field another name.",
    )
