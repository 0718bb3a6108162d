"""JSON without duplicate keys and without NaN."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from webapp.datasets.content import problems

if TYPE_CHECKING:
    from workers.contract.json_types import JsonObject, JsonValue


def parse_json(text: str) -> Any:
    """Parse strict JSON.

    Raises RowError for duplicate keys and NaN, ValueError for other errors.
    """
    try:
        return DECODER.decode(text)
    except RecursionError as error:
        raise problems.too_deep() from error


def _build_object(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise problems.duplicate_key(next(name for name in names if names.count(name) > 1))
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise problems.not_finite(name)


DECODER = json.JSONDecoder(object_pairs_hook=_build_object, parse_constant=_refuse_constant)
