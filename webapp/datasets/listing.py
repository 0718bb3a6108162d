"""The list of a team's datasets, and the deleted ones."""

from __future__ import annotations

from django.db.models import Prefetch
from django.http import QueryDict

from webapp.core.deletion import find_undoable
from webapp.core.listing import ListQuery, Sorts
from webapp.datasets.models import DatasetVersion, Upload
from webapp.teams.models import Team

PAGE_SIZE = 30
WAITING_SHOWN = 5
SORTS: Sorts = {
    "": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "name": ("Name", ("name", "-id")),
}


def build_context(team: Team, query: QueryDict) -> dict[str, object]:
    """Return what ``datasets/list.html`` shows; with ``deleted=1`` the page of deleted datasets."""
    wanted = ListQuery(query, SORTS)
    deleted = query.get("deleted") == "1"
    datasets = team.datasets.deleted() if deleted else team.datasets.alive()
    found = datasets.filter(name__icontains=wanted.filters["q"])
    versions = Prefetch("versions", DatasetVersion.objects.defer("report"))
    return wanted.build_context() | {
        "page": wanted.paginate(found.prefetch_related(versions), PAGE_SIZE),
        "deleted": deleted,
        "undo": find_undoable(team.datasets.deleted(), query),
        "waiting": team.uploads.filter(state=Upload.State.CHECKED).order_by("-id")[:WAITING_SHOWN],
    }
