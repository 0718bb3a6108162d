"""Roles of a table's columns: guessed for the report, chosen by the uploader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO

from webapp.core.fields import replace_nul
from webapp.datasets import formats
from webapp.datasets.content.problems import FileError
from webapp.datasets.content.rows import Columns
from webapp.datasets.formats.cells import find_columns, find_index_columns
from webapp.datasets.reports import TableColumn

SAMPLE_CHARACTERS = 80
PROMPT, MESSAGES, FIELD, OUT = "prompt", "messages", "field", "out"
ROLES = {FIELD: "Field", PROMPT: "Prompt", MESSAGES: "Messages", OUT: "Leave out"}


def describe_columns(file: IO[bytes], kind: str, wanted: Columns | None) -> list[TableColumn]:
    """Return a table's columns with roles and samples; empty for JSONL and unreadable tables."""
    if kind not in formats.SAMPLERS:
        return []
    try:
        names, rows = formats.SAMPLERS[kind](file)
    except FileError:
        return []
    if any(name != replace_nul(name) for name in names):
        return []
    try:
        found = find_columns(names, wanted)
    except FileError:
        found = Columns(messages="", left_out=find_index_columns(names))
    return [
        {"name": name, "role": _find_role(name, found), "samples": [_cut_sample(row[name]) for row in rows]}
        for name in names
    ]


def _find_role(name: str, found: Columns) -> str:
    if name in (found.left_out or ()):
        return OUT
    if found.prompt:
        return PROMPT if name == found.prompt else FIELD
    return MESSAGES if name == found.messages else FIELD


def _cut_sample(value: object) -> str:
    text = replace_nul(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SAMPLE_CHARACTERS else f"{text[:SAMPLE_CHARACTERS]}…"


def map_columns(names: Sequence[str], roles: Sequence[str]) -> dict[str, str | list[str]]:
    """Return the options that give each column its role. Raises ValueError with the remedy."""
    if len(names) != len(roles) or not set(roles) <= ROLES.keys():
        raise ValueError("The columns were not understood. Load the page again.")
    by_role = {role: [name for name, own in zip(names, roles, strict=True) if own == role] for role in ROLES}
    prompts = by_role[PROMPT] + by_role[MESSAGES]
    if len(prompts) != 1:
        found = (
            f"{', '.join(prompts)} are all marked as prompt" if prompts else "no column is marked as prompt"
        )
        raise ValueError(f"Choose exactly one column for the prompt: {found}.")
    return {
        "prompt_column": "".join(by_role[PROMPT]),
        "messages_column": "".join(by_role[MESSAGES]),
        "left_out": by_role[OUT],
    }
