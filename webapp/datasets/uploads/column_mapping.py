"""Which column of a table is what: told on the report, chosen by the uploader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, Any

from webapp.core.fields import storable
from webapp.datasets import formats
from webapp.datasets.content.problems import FileError
from webapp.datasets.content.rows import Columns
from webapp.datasets.formats.cells import find_columns, find_index_columns

SAMPLE_CHARACTERS = 80
PROMPT, MESSAGES, FIELD, OUT = "prompt", "messages", "field", "out"
ROLES = {FIELD: "Field", PROMPT: "Prompt", MESSAGES: "Messages", OUT: "Leave out"}


def describe_columns(file: IO[bytes], kind: str, wanted: Columns | None) -> list[dict[str, Any]]:
    """``[{name, role, samples}]`` of a table's columns; empty for JSONL and for what cannot be read."""
    if kind not in formats.SAMPLERS:
        return []
    try:
        names, rows = formats.SAMPLERS[kind](file)
    except FileError:
        return []
    if any(name != storable(name) for name in names):
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


def _cut_sample(value: Any) -> str:
    text = storable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SAMPLE_CHARACTERS else f"{text[:SAMPLE_CHARACTERS]}…"


def map_columns(names: Sequence[str], roles: Sequence[str]) -> dict[str, Any]:
    """The options that give each column its role. Raises ValueError with what to change."""
    if len(names) != len(roles) or not set(roles) <= ROLES.keys():
        raise ValueError("The columns were not understood. Load the page again.")
    by_role = {role: [name for name, its in zip(names, roles, strict=True) if its == role] for role in ROLES}
    prompts = by_role[PROMPT] + by_role[MESSAGES]
    if len(prompts) != 1:
        said = f"{', '.join(prompts)} are all said to hold it" if prompts else "no column is said to hold it"
        raise ValueError(f"Say where the prompt is, once: {said}.")
    return {
        "prompt_column": "".join(by_role[PROMPT]),
        "messages_column": "".join(by_role[MESSAGES]),
        "left_out": by_role[OUT],
    }
