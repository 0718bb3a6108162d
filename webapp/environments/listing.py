"""The list of a team's environments, and the deleted ones."""

from __future__ import annotations

from django.db.models import Count, Prefetch, Q, QuerySet
from django.http import QueryDict

from webapp.core.deletion import find_undoable
from webapp.core.listing import ListQuery, Sorts
from webapp.environments.models import Environment, EnvironmentVersion
from webapp.teams.models import Team

SORTS: Sorts = {
    "": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "name": ("Name", ("name", "-id")),
}


def build_context(team: Team, query: QueryDict) -> dict[str, object]:
    """Return what ``environments/list.html`` shows: the page that the query string asks for."""
    wanted = ListQuery(query, SORTS)
    page = wanted.paginate(_filter_environments(team, wanted.filters))
    inspections = (getattr(each.newest[0], "inspection", None) for each in page if each.newest)  # type: ignore[attr-defined]
    return wanted.build_context() | {
        "page": page,
        "checking": any(inspection is not None and inspection.pending for inspection in inspections),
        "undo": find_undoable(list_restorable(team), query),
    }


def list_restorable(team: Team) -> QuerySet[Environment]:
    """Return the team's deleted environments."""
    return Environment.objects.deleted().filter(team=team).select_related("team")


def _filter_environments(team: Team, filters: dict[str, str]) -> QuerySet[Environment]:
    newest = EnvironmentVersion.objects.order_by("environment_id", "-number").distinct("environment_id")
    versions = newest.select_related("inspection").defer("source")
    environments = (
        Environment.objects.alive()
        .filter(team=team)
        .annotate(jobs=Count("versions__jobs"))
        .select_related("team")
        .prefetch_related(Prefetch("versions", versions, to_attr="newest"))
    )
    if text := filters["q"]:
        environments = environments.filter(
            Q(name__icontains=text) | Q(description__icontains=text) | Q(uid=text)
        )
    return environments
