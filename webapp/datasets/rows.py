"""One row: read strictly from JSON or from cells, brought to one shape, and named by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

from . import problems
from .limits import MAX_DEPTH, MAX_FIELDS, MAX_MESSAGES, MAX_NAME

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


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

    Columns that are ``left_out`` are no part of a table's rows.
    """

    messages: str = "messages"
    prompt: str = ""
    left_out: frozenset[str] = frozenset()


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
        return prompt_digest(self.messages)

    @property
    def excerpt(self) -> str:
        """The last user message in short."""
        return str(self.messages[-1]["content"])[:120]

    def line(self) -> bytes:
        """The row as a line of a version's file."""
        return b'{"row_id":"' + self.row_id.encode() + b'",' + self.body[1:] + b"\n"


def prompt_digest(messages: Sequence[Mapping[str, Any]]) -> bytes:
    """16 bytes, the same for prompts that differ in case or white space only."""
    texts = [[message["role"], _folded(message.get("content"))] for message in messages]
    return hashlib.sha256(json.dumps(texts).encode()).digest()[:16]


def _folded(content: str | None) -> str:
    return " ".join((content or "").casefold().split())


def parse_json(text: str) -> Any:
    """Strict JSON. Raises RowError for duplicate keys and NaN, ValueError for the rest."""
    try:
        return DECODER.decode(text)
    except RecursionError as error:
        raise problems.too_deep() from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise problems.duplicate_key(next(name for name in names if names.count(name) > 1))
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise problems.not_finite(name)


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def row_of(fields: Mapping[str, Any], columns: Columns) -> Row:
    """The row that these fields make. Raises RowError."""
    rest = dict(fields)
    if columns.prompt:
        messages = _prompt(columns.prompt, rest.pop(columns.prompt, None))
    else:
        messages = rest.pop(columns.messages, None)
    messages = _messages(messages)
    shape: dict[str, Any] = {"messages": messages, "item": rest}
    if (tools := rest.pop("tools", None)) is not None:
        shape["tools"] = _tools(tools)
    _check_item(rest)
    return Row(messages, rest, _split(rest), canonical(shape))


def _prompt(name: str, value: Any) -> list[dict[str, Any]]:
    if value is None:
        raise problems.no_prompt(name)
    return [{"role": "user", "content": value}]


def canonical(shape: Mapping[str, Any]) -> bytes:
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


def _messages(value: Any) -> list[dict[str, Any]]:
    if value is None:
        raise problems.no_messages()
    if not isinstance(value, list):
        raise problems.bad_messages("is not a list")
    if not value:
        raise problems.bad_messages("is empty")
    if len(value) > MAX_MESSAGES:
        raise problems.too_many_messages()
    messages = [_message(number, message) for number, message in enumerate(value, start=1)]
    if messages[-1]["role"] != "user":
        raise problems.last_not_user(messages[-1]["role"])
    if not messages[-1]["content"].strip():
        raise problems.empty_prompt()
    return messages


def _message(number: int, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise problems.bad_message(number, "is not an object")
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise problems.bad_role(number, role)
    if role == "assistant" and value.get("content") is None and value.get("tool_calls"):
        return value
    return value | {"content": _content(number, value.get("content"))}


def _content(number: int, value: Any) -> str:
    """Text as it is; a list of text parts joined. Other parts (images, audio) are refused."""
    if isinstance(value, str):
        return value
    if value is None:
        raise problems.bad_message(number, "has no content")
    if not isinstance(value, list):
        raise problems.bad_message(number, "has a content that is not text")
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        raise problems.bad_message(number, "has a part that is not text")
    return "".join(part["text"] for part in value)


def _tools(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise problems.bad_tools()
    return value


def _check_item(item: dict[str, Any]) -> None:
    if len(item) > MAX_FIELDS:
        raise problems.too_many_fields(len(item))
    if any(len(name) > MAX_NAME for name in item):
        raise problems.name_too_long()


def _split(item: dict[str, Any]) -> Split | None:
    value = item.get("split")
    if value is None or value == "":
        return None
    if not isinstance(value, str) or value.strip().lower() not in SPLITS:
        raise problems.bad_split(value)
    return SPLITS[value.strip().lower()]
