"""Texts in bodies of requests that PostgreSQL can store."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _refuse_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it contains a NUL character")
    return text


StorableText = Annotated[str, AfterValidator(_refuse_nul)]
