"""What a version's files hold."""

from __future__ import annotations

import json
from typing import Any

from django.core.files.storage import default_storage


def rows_of(key: str) -> list[dict[str, Any]]:
    """Every row of a stored file."""
    with default_storage.open(key) as file:
        return [json.loads(line) for line in file]
