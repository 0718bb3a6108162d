"""Model fields that every app shares."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import models
from django.utils.crypto import get_random_string

RANDOM_CHARACTERS = 24


def create_public_id(prefix: str) -> str:
    """Return a random identifier for URLs: a prefix such as ``ftjob-`` and 24 characters."""
    return prefix + get_random_string(RANDOM_CHARACTERS)


class PublicIdField(models.CharField):  # type: ignore[type-arg]
    """An identifier for URLs and the API. Primary keys never leave the database."""

    def __init__(self, prefix: str = "", **options: Any) -> None:
        self.prefix = prefix
        fixed = {
            "max_length": 64,
            "unique": True,
            "editable": False,
            "default": partial(create_public_id, prefix),
        }
        super().__init__(**options | fixed)

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        for key in ("max_length", "unique", "editable", "default"):
            options.pop(key, None)
        return name, path, args, options | {"prefix": self.prefix}


def replace_nul(text: str | None) -> str:
    """Replace NUL characters, which PostgreSQL cannot store, by a visible symbol."""
    return (text or "").replace("\x00", "\N{SYMBOL FOR NULL}")
