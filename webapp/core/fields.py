"""Model fields that every app shares."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.db import models
from django.db.models.fields.json import KeyTransform
from django.db.models.query_utils import DeferredAttribute
from pydantic import BaseModel

ALPHABET = string.ascii_letters + string.digits
RANDOM_CHARACTERS = 24
FERNET_MARK = "gAAAAA"  # version and time of a Fernet token, in base64


def create_public_id(prefix: str) -> str:
    """Return a random identifier for URLs: a prefix such as ``ftjob-`` and 24 characters."""
    number = secrets.randbelow(len(ALPHABET) ** RANDOM_CHARACTERS)  # one call of the system, not 24
    characters = []
    for _ in range(RANDOM_CHARACTERS):
        number, index = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[index])
    return prefix + "".join(characters)


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


class _ParsedAttribute(DeferredAttribute):
    """Parses whatever is assigned, so that a row reads the same before and after it is saved."""

    def __set__(self, instance: models.Model, value: Any) -> None:
        field = self.field
        assert isinstance(field, _PydanticField)
        instance.__dict__[field.attname] = field.parse(value)


class _PydanticField(models.JSONField):
    descriptor_class = _ParsedAttribute

    def __init__(self, schema: type[BaseModel], **options: Any) -> None:
        self.schema = schema
        super().__init__(**options)

    def deconstruct(self) -> Any:
        name, _, args, options = super().deconstruct()
        default = {"default": dict} if "default" in options else {}
        return name, "django.db.models.JSONField", args, options | default

    def clone(self) -> Any:
        """Migrations know a plain JSON column: a schema changes without one."""
        _, _, args, options = self.deconstruct()
        return models.JSONField(*args, **options)

    def parse(self, value: Any) -> Any:
        return self.schema.model_validate(value) if isinstance(value, Mapping) else value

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        loaded = super().from_db_value(value, expression, connection)
        return loaded if isinstance(expression, KeyTransform) else self.parse(loaded)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        return super().get_db_prep_value(value, connection, prepared)


def pydantic_field(schema: type[BaseModel], **options: Any) -> Any:
    """A JSON column that reads as an instance of ``schema``. Annotate it: ``settings: JobSettings = …``.

    A mapping may be assigned. Raises ``pydantic.ValidationError`` where it does not fit.
    """
    return _PydanticField(schema, **options)


def replace_nul(text: str | None) -> str:
    """Replace NUL characters, which PostgreSQL cannot store, by a visible symbol."""
    return (text or "").replace("\x00", "\N{SYMBOL FOR NULL}")


def is_undecrypted(secret: str) -> bool:
    """Return True if a secret came out of the database encrypted: this process has another key."""
    return secret.startswith(FERNET_MARK)
