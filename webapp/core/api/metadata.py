"""Metadata that callers attach to objects: up to 16 texts by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

from django.db.models import Model, Q, QuerySet
from django.http import QueryDict
from pydantic import Field, StringConstraints

M = TypeVar("M", bound=Model)
MOST_PAIRS = 16
KEY_LENGTH = 64
VALUE_LENGTH = 512
_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)

Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=KEY_LENGTH)],
        Annotated[str, StringConstraints(max_length=VALUE_LENGTH)],
    ],
    Field(max_length=MOST_PAIRS),
]


def read_filters(query: QueryDict) -> dict[str, str] | None:
    """Return the pairs of ``metadata[key]=value``; None for ``metadata=null``."""
    if query.get("metadata") == "null":
        return None
    found = ((_FILTER.fullmatch(name), query.get(name, "")) for name in query)
    return {match[1]: str(value) for match, value in found if match}


def filter_by_metadata(objects: QuerySet[M], filters: Mapping[str, str] | None) -> QuerySet[M]:
    """Keep objects whose ``metadata`` has these pairs; with None, those without metadata."""
    if filters is None:
        return objects.filter(metadata={})
    return objects.filter(Q(metadata__contains=dict(filters))) if filters else objects
