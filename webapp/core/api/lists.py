"""Cursor pagination as OpenAI's SDK expects it: ``after`` is the id of the last object seen.

Pages follow primary keys, the order of insertion, so that a cursor stays valid while objects arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from django.db.models import Model, QuerySet
from ninja import Schema

from webapp.core.api.errors import ApiError
from webapp.core.input_checks import parse_whole_number

M = TypeVar("M", bound=Model)
Order = Literal["asc", "desc"]


class ListPage(Schema):
    """A page of objects. ``data`` holds objects of one kind, each with an ``id``."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    has_more: bool
    first_id: str | None
    last_id: str | None


def parse_limit(text: str | None, default: int, most: int = 100) -> int:
    """Parse ``limit``. Raises ApiError unless it is a number from 1 to ``most``."""
    if text is None or text == "":
        return default
    number = parse_whole_number(text)
    if number is None or not 1 <= number <= most:
        raise ApiError(f"limit must be a number from 1 to {most}.", param="limit", code="invalid_value")
    return number


def list_page(
    objects: QuerySet[M],
    describe: Callable[[M], dict[str, Any]],
    *,
    after: str | None = None,
    limit: int = 20,
    order: Order = "desc",
    key: str = "uid",
) -> ListPage:
    """Return the page behind the object whose ``key`` is ``after``.

    Raises ApiError for a cursor that names none of ``objects``.
    """
    if after:
        cursor = objects.filter(**{key: after}).values_list("pk", flat=True).first()
        if cursor is None:
            raise ApiError(f"No object has the id {after!r}.", param="after", code="invalid_value")
        objects = objects.filter(**{"pk__lt" if order == "desc" else "pk__gt": cursor})
    found = list(objects.order_by("-pk" if order == "desc" else "pk")[: limit + 1])
    data = [describe(each) for each in found[:limit]]
    return ListPage(
        data=data,
        has_more=len(found) > limit,
        first_id=data[0]["id"] if data else None,
        last_id=data[-1]["id"] if data else None,
    )
