"""Rows of a split: read, checked, rendered with the model's chat template and encoded."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.engine import errors
from workers.spec import DataFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Item(dict[str, Any]):
    """What graders see beside the answer. ``task``, which they do not see, says whose grader it is."""

    def __init__(self, fields: dict[str, Any], task: str) -> None:
        super().__init__(fields)
        self.task = task


@dataclass(frozen=True)
class Row:
    """One prompt. ``item`` is what graders see beside the answer; ``row_id`` names the row for good."""

    row_id: str
    messages: list[dict[str, Any]]
    item: dict[str, Any]
    task: str = ""


def checked_path(file: DataFile, folder: Path) -> Path:
    """Where ``file`` lies; raises ``EngineError`` unless it is there and has the pinned sha256."""
    path = folder / file.path
    if not path.is_file():
        raise errors.file_missing(path)
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise errors.hash_differs(path, file.sha256, found)
    return path


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON Lines file. Raises ``EngineError`` with the line number of the first bad one."""
    with path.open(encoding="utf-8") as stream:
        return [_row(path, number, line) for number, line in enumerate(stream, start=1) if line.strip()]


def _row(path: Path, number: int, line: str) -> Row:
    try:
        value = json.loads(line)
        task = str(value.get("task", ""))
        row = Row(str(value["row_id"]), value["messages"], Item(value["item"], task), task)
    except (ValueError, TypeError, KeyError) as error:
        raise errors.bad_row(
            path, number, f"not an object with row_id, messages and item ({error})"
        ) from error
    if not row.messages:
        raise errors.bad_row(path, number, "it has no messages")
    return row


def choose(rows: list[Row], limit: int, seed: int) -> list[Row]:
    """At most ``limit`` rows, the same ones for the same seed, in file order."""
    if len(rows) <= limit:
        return rows
    picked = sorted(random.Random(seed).sample(range(len(rows)), limit))  # noqa: S311 - not a secret
    return [rows[index] for index in picked]


def render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]]) -> str:
    """The prompt as the model reads it, up to where its answer begins."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def encode(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]]) -> list[int]:
    """The same prompt as token ids: the template's own special tokens, none added twice."""
    encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return list(encoded["input_ids"])


def prefill(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]]) -> str:
    """What the chat template writes into the answer before the model does, such as ``<think>``.

    It is the part of the generation prompt that a finished answer's turn does not start with. Graders do not
    see it, so a grader that asks for it would never be satisfied (TRL issue 6966).
    """
    mark = "\u2402answer\u2402"
    prompt = render(tokenizer, messages)
    try:
        turn = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": mark}], tokenize=False
        )
    except Exception:  # a template may refuse a finished turn: then nothing is known
        return ""
    header = str(turn).split(mark)[0]
    return prompt[len(header) :] if prompt.startswith(header) else ""
