"""A checked row: one shape for every format, with an id that is the hash of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from webapp.datasets.content import problems
from webapp.datasets.content.conversations import parse_messages, read_conversation, read_tools
from webapp.datasets.content.limits import MAX_DEPTH, MAX_FIELDS, MAX_NAME
from webapp.datasets.content.row_types import Message, Tool

if TYPE_CHECKING:
    from workers.contract.json_types import JsonObject, JsonValue


class Split(IntEnum):
    """The three parts of a dataset. A higher number is held out longer."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2

    @property
    def label(self) -> str:
        return self.name.lower()

    @property
    def sealed(self) -> bool:
        """True if its rows stay hidden until a job has trained."""
        return self is Split.TEST


SPLITS = {split.label: split for split in Split}
SPLIT = "split"  # column of a file that states the splits of its rows


@dataclass(frozen=True)
class Columns:
    """The column of the prompt: a list of ``messages``, or a plain text if ``prompt`` is set.

    ``left_out`` columns do not become fields. None leaves out the index columns that pandas writes.
    With ``validation_from``, the line where a row stands states its split: validation from this line on.
    Without ``reads_split`` a field ``split`` is like any other. A ``split`` column of another name states the
    split and does not become a field.
    """

    messages: str = "messages"
    prompt: str = ""
    left_out: frozenset[str] | None = None
    reads_split: bool = True
    validation_from: int | None = None
    split: str = SPLIT

    def read_split(self, item: JsonObject, line: int) -> Split | None:
        """Return the split that the row at this line states, if any. Raises RowError."""
        if self.validation_from is not None:
            return Split.VALIDATION if line >= self.validation_from else Split.TRAIN
        if self.split != SPLIT:
            return _parse_split(item.pop(self.split, None))
        return _parse_split(item.get(SPLIT)) if self.reads_split else None


@dataclass(frozen=True)
class Row:
    """A checked row. ``body`` is its canonical JSON, ``row_id`` the hash of that JSON."""

    messages: list[Message]
    item: JsonObject
    split: Split | None
    body: bytes
    tools: list[Tool]

    @property
    def digest(self) -> bytes:
        """The first 16 bytes of the sha256 of the canonical JSON."""
        return hashlib.sha256(self.body).digest()[:16]

    @property
    def row_id(self) -> str:
        return self.digest.hex()

    @property
    def prompt_digest(self) -> bytes:
        return hash_prompt(self.messages)

    @property
    def excerpt(self) -> str:
        """The first 120 characters of the last user message."""
        return str(self.messages[-1]["content"])[:120]

    @property
    def training_bytes(self) -> int:
        """The length of the row in a file of the API."""
        return len(encode_training_line(self.messages, self.tools, self.item))

    def encode_line(self) -> bytes:
        """Return the row as a line of a version's file."""
        return b'{"row_id":"' + self.row_id.encode() + b'",' + self.body[1:] + b"\n"


def hash_prompt(messages: Sequence[Message]) -> bytes:
    """Return 16 bytes, the same for prompts that differ in case or white space only."""
    texts = [[message["role"], _normalize(message.get("content"))] for message in messages]
    return hashlib.sha256(json.dumps(texts).encode()).digest()[:16]


def _normalize(content: str | None) -> str:
    return " ".join((content or "").casefold().split())


ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode_training_line(messages: Sequence[Message], tools: Sequence[Tool], item: JsonObject) -> bytes:
    """Return a row as a line of a reinforcement file in OpenAI's format: fields lie beside the messages.

    A field named ``messages`` is left out.
    """
    shape: dict[str, object] = {**item, "messages": [*map(_write_arguments, messages)]}
    if tools:
        shape["tools"] = tools
    return ENCODER.encode(shape).encode() + b"\n"


def _write_arguments(message: Message) -> Mapping[str, object]:
    """Return the message with the arguments of its tool calls as JSON text."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    return message | {
        "tool_calls": [
            call | {"function": call["function"] | {"arguments": _encode(call["function"]["arguments"])}}
            for call in calls
        ]
    }


def _encode(value: JsonObject) -> str:
    return ENCODER.encode(value)


def build_row(fields: Mapping[str, JsonValue], columns: Columns, line: int = 0) -> Row:
    """Check the fields of a line and build a row of them. Raises RowError."""
    rest = dict(fields)
    if columns.prompt:
        prompt = rest.pop(columns.prompt, None)
        if prompt is None:
            raise problems.no_prompt(columns.prompt)
        messages = read_conversation(parse_messages(prompt) or [{"role": "user", "content": prompt}])
    else:
        messages = read_conversation(rest.pop(columns.messages, None))
    shape: dict[str, object] = {"messages": messages, "item": rest}
    if tools := read_tools(rest.pop("tools", None)):
        shape["tools"] = tools
    split = columns.read_split(rest, line)
    _check_fields(rest)
    return Row(messages, rest, split, encode_canonical(shape), tools)


def encode_canonical(shape: dict[str, object]) -> bytes:
    """Encode JSON with sorted keys and no spaces.

    Raises RowError for what JSON or PostgreSQL refuses.
    """
    _check_depth(shape, MAX_DEPTH)
    try:
        text = ENCODER.encode(shape)
        body = text.encode()
    except UnicodeEncodeError as error:
        raise problems.half_surrogate() from error
    except ValueError as error:
        raise problems.not_finite() from error
    if "\\u0000" in text and _has_nul(shape):  # the text may also hold a backslash and u0000
        raise problems.nul_character()
    return body


def _check_depth(value: object, left: int) -> None:
    if not isinstance(value, dict | list):
        return
    if left == 0:
        raise problems.too_deep()
    for part in value.values() if isinstance(value, dict) else value:
        _check_depth(part, left - 1)


def _has_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def _check_fields(item: JsonObject) -> None:
    if len(item) > MAX_FIELDS:
        raise problems.too_many_fields(len(item))
    if any(len(name) > MAX_NAME for name in item):
        raise problems.name_too_long()


def _parse_split(value: JsonValue) -> Split | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or value.strip().lower() not in SPLITS:
        raise problems.bad_split(value)
    return SPLITS[value.strip().lower()]
