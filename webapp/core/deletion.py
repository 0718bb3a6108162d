"""Deletion that can be undone: parts of the views that delete, restore, and list deleted objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.utils.http import urlencode

PAGE_SIZE = 50
UNDO = "undo"  # parameter of a list's query string: uids of the objects that were just deleted
M = TypeVar("M", bound=Model)


class RemovalRefused(ValueError):
    """The object must stay as it is; the message says why and what to do."""


def redirect_to_undo(list_url: str, uids: Sequence[str]) -> HttpResponseRedirect:
    """Redirect to the list, which then offers to restore these objects."""
    return HttpResponseRedirect(f"{list_url}?{urlencode({UNDO: uids}, doseq=True)}")


def find_undoable(deleted: QuerySet[M], query: QueryDict) -> list[M]:
    """Return those of the ``deleted`` objects that the list offers to restore."""
    uids = query.getlist(UNDO)
    return list(deleted.filter(uid__in=uids)) if uids else []


def render_deleted(
    request: HttpRequest, template: str, deleted: QuerySet[M], **context: object
) -> HttpResponse:
    """Render a page of the ``deleted`` objects, newest deletion first; ``template`` extends deleted.html."""
    pages = Paginator(deleted.order_by("-deleted_at", "-pk"), PAGE_SIZE)
    return render(request, template, {"page": pages.get_page(request.GET.get("page")), **context})
