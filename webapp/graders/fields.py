"""A model field for JSON that keeps the order of keys."""

from __future__ import annotations

from typing import Any

from django.db import models
from psycopg.types.json import Json


class WrittenJSONField(models.JSONField):
    """JSON whose keys keep their order: PostgreSQL's ``json``, since ``jsonb`` sorts them."""

    def db_type(self, connection: Any) -> str:
        return "json"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else Json(value)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value
