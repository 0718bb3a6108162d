"""One row: read strictly from JSON or from cells, brought to one shape, and named by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from webapp.datasets.content import problems
from webapp.datasets.content.conversations import parse_messages, read_conversation, read_tools
from webapp.datasets.content.limits import MAX_DEPTH, MAX_FIELDS, MAX_NAME


class Split(IntEnum):
    """The three parts of a dataset; the higher, the longer it stays unseen."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2

    @property
    def label(self) -> str:
        return self.name.lower()

    @property
    def sealed(self) -> bool:
        """Whether nobody looks at its rows before a job has trained."""
        return self is Split.TEST


SPLITS = {split.label: split for split in Split}


@dataclass(frozen=True)
class Columns:
    """Where a row keeps its prompt: a list of ``messages``, or a plain ``prompt`` text if that is set.

    Columns that are ``left_out`` are no part of a table's rows; None leaves out the index that pandas adds.
    """

    messages: str = "messages"
    prompt: str = ""
    left_out: frozenset[str] | None = None


@dataclass(frozen=True)
class Row:
    """A checked row. ``body`` is its canonical JSON; ``row_id`` names that content for good."""

    messages: list[dict[str, Any]]
    item: dict[str, Any]
    split: Split | None
    body: bytes

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
        """The last user message in short."""
        return str(self.messages[-1]["content"])[:120]

    def line(self) -> bytes:
        """The row as a line of a version's file."""
        return b'{"row_id":"' + self.row_id.encode() + b'",' + self.body[1:] + b"\n"


def hash_prompt(messages: Sequence[Mapping[str, Any]]) -> bytes:
    """16 bytes, the same for prompts that differ in case or white space only."""
    texts = [[message["role"], _normalize(message.get("content"))] for message in messages]
    return hashlib.sha256(json.dumps(texts).encode()).digest()[:16]


def _normalize(content: str | None) -> str:
    return " ".join((content or "").casefold().split())


ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def build_row(fields: Mapping[str, Any], columns: Columns) -> Row:
    """The row that these fields make. Raises RowError."""
    rest = dict(fields)
    if columns.prompt:
        messages = _read_prompt(columns.prompt, rest.pop(columns.prompt, None))
    else:
        messages = rest.pop(columns.messages, None)
    messages = read_conversation(messages)
    shape: dict[str, Any] = {"messages": messages, "item": rest}
    if tools := read_tools(rest.pop("tools", None)):
        shape["tools"] = tools
    _check_fields(rest)
    return Row(messages, rest, _read_split(rest), encode_canonical(shape))


def _read_prompt(name: str, value: Any) -> list[dict[str, Any]]:
    if value is None:
        raise problems.no_prompt(name)
    return parse_messages(value) or [{"role": "user", "content": value}]


def encode_canonical(shape: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and no spaces. Raises RowError for what JSON or PostgreSQL cannot hold."""
    _check_depth(shape, MAX_DEPTH)
    try:
        text = ENCODER.encode(shape)
        body = text.encode()
    except UnicodeEncodeError as error:
        raise problems.half_surrogate() from error
    except ValueError as error:
        raise problems.not_finite() from error
    if "\\u0000" in text and _has_nul(shape):
        raise problems.nul_character()
    return body


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, dict | list):
        return
    if left == 0:
        raise problems.too_deep()
    for part in value.values() if isinstance(value, dict) else value:
        _check_depth(part, left - 1)


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def _check_fields(item: dict[str, Any]) -> None:
    if len(item) > MAX_FIELDS:
        raise problems.too_many_fields(len(item))
    if any(len(name) > MAX_NAME for name in item):
        raise problems.name_too_long()


def _read_split(item: dict[str, Any]) -> Split | None:
    value = item.get("split")
    if value is None or value == "":
        return None
    if not isinstance(value, str) or value.strip().lower() not in SPLITS:
        raise problems.bad_split(value)
    return SPLITS[value.strip().lower()]
