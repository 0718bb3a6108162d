"""Lists that the query string filters, sorts and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Case, F, Model, QuerySet
from django.db.models.expressions import OrderBy
from django.http import QueryDict

PAGE_SIZE = 50
Sorts = Mapping[str, tuple[str, Sequence[str | F | OrderBy | Case]]]
"""Value of ``sort`` -> title and fields of the order; the value "" is the default."""
M = TypeVar("M", bound=Model)


class ListQuery:
    """What a query string asks of a list: a text (``q``), values of other filters, an order and a page."""

    def __init__(self, query: QueryDict, sorts: Sorts, filters: Sequence[str] = ()) -> None:
        self.filters = {name: query.get(name, "").strip() for name in ("q", *filters)}
        self.sort = query.get("sort", "")
        self._page, self._sorts = query.get("page"), sorts

    def paginate(self, objects: QuerySet[M], size: int = PAGE_SIZE) -> Page[M]:
        """Return the page of the sorted ``objects``; the first or last one if the number is wrong."""
        _, order = self._sorts.get(self.sort, self._sorts[""])
        return Paginator(objects.order_by(*order), size).get_page(self._page)

    def build_context(self) -> dict[str, object]:
        """Return what the filter bar of the list's template shows."""
        return {
            "filters": self.filters | {"sort": self.sort},
            "filtered": any(self.filters.values()),
            "sorts": [(key, title) for key, (title, _) in self._sorts.items()],
        }
