"""The list of a team's datasets: search, sorting, pages, and deleted datasets."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import QueryDict

from webapp.datasets.models import DatasetVersion, Upload
from webapp.teams.models import Team

PAGE = 30
WAITING_SHOWN = 5
SORTS = {
    "": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "name": ("Name", ("name", "-id")),
}


def build_context(team: Team, query: QueryDict) -> dict[str, object]:
    """Build the template's context from the query string. ``deleted=1`` lists deleted datasets."""
    chosen = {name: query.get(name, "").replace("\x00", "").strip() for name in ("q", "sort")}
    deleted = query.get("deleted") == "1"
    datasets = team.datasets.filter(deleted_at__isnull=not deleted, name__icontains=chosen["q"])
    ordered = datasets.order_by(*SORTS.get(chosen["sort"], SORTS[""])[1])
    versions = Prefetch("versions", DatasetVersion.objects.defer("report"))
    undo = team.datasets.exclude(deleted_at=None).filter(uid=query["undo"]) if "undo" in query else None
    return {
        "page": Paginator(ordered.prefetch_related(versions), PAGE).get_page(query.get("page")),
        "chosen": chosen,
        "filtered": bool(chosen["q"]),
        "sorts": [(key, title) for key, (title, _) in SORTS.items()],
        "deleted": deleted,
        "undo": undo.first() if undo is not None else None,
        "waiting": team.uploads.filter(state=Upload.State.CHECKED).order_by("-id")[:WAITING_SHOWN],
    }
