"""Multipart forms, as OpenAI's SDK sends them."""

from __future__ import annotations

import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from tests.api.conftest import Call


def send_form(call: Call, path: str, **fields: Any) -> Any:
    """POST a form."""
    return call("POST", path, data=encode_multipart(BOUNDARY, fields), content_type=MULTIPART_CONTENT)


def send_file(
    call: Call, content: bytes, purpose: str = "fine-tune", name: str = "data.jsonl", **fields: Any
) -> Any:
    """POST a file to ``/files``."""
    file = SimpleUploadedFile(name, content, "application/octet-stream")
    return send_form(call, "/files", file=file, purpose=purpose, **fields)


def write_rows(count: int, start: int = 0, **item: Any) -> bytes:
    """Return reinforcement rows as JSON Lines."""
    rows = [
        {"messages": [{"role": "user", "content": f"Prompt {number}"}], "label": number} | item
        for number in range(start, start + count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
