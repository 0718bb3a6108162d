"""The list of a team's graders, and the deleted ones."""

from __future__ import annotations

from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.http import QueryDict

from webapp.core.deletion import find_undoable
from webapp.core.listing import ListQuery, Sorts
from webapp.graders.models import Grader, GraderCheck, GraderVersion
from webapp.teams.models import Team
from workers.grading import KINDS

SORTS: Sorts = {
    "": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "name": ("Name", ("name", "-id")),
    "jobs": ("Used by most jobs", ("-jobs", "-id")),
}
State = GraderCheck.State
CHEATED = Q(results__cheats__contains=[{"warned": True}])
CHECKS = {
    "honest": ("Checked, no cheat paid", Q(state=State.FINISHED) & ~CHEATED),
    "cheated": ("Cheats paid", CHEATED),
    "pending": ("Being checked", Q(state__in=[State.QUEUED, State.RUNNING])),
    "failed": ("Check failed", Q(state=State.FAILED)),
    "rows": ("Waits for rows", Q(state=State.WAITING_FOR_ROWS)),
}


def newest_versions() -> QuerySet[GraderVersion]:
    """Return the newest version of each grader."""
    return GraderVersion.objects.order_by("grader_id", "-number").distinct("grader_id")


def build_context(team: Team, query: QueryDict) -> dict[str, object]:
    """Return what ``graders/list.html`` shows: the page that the query string asks for, and its filters."""
    wanted = ListQuery(query, SORTS, ("kind", "check"))
    page = wanted.paginate(_filter_graders(team, wanted.filters))
    checks = (getattr(version, "check_run", None) for grader in page for version in grader.newest)  # type: ignore[attr-defined]
    return wanted.build_context() | {
        "page": page,
        "checking": any(check is not None and check.pending for check in checks),
        "kinds": [(kind.type, kind.label) for kind in KINDS.values()],
        "checks": [(key, title) for key, (title, _) in CHECKS.items()],
        "undo": find_undoable(list_restorable(team), query),
    }


def list_restorable(team: Team) -> QuerySet[Grader]:
    """Return the team's deleted graders."""
    return Grader.objects.deleted().filter(team=team).select_related("team")


def _filter_graders(team: Team, filters: dict[str, str]) -> QuerySet[Grader]:
    versions = newest_versions().select_related("check_run")
    graders = (
        Grader.objects.alive()
        .filter(team=team)
        .annotate(jobs=Count("versions__jobs"))
        .select_related("team")
        .prefetch_related(Prefetch("versions", versions, to_attr="newest"))
    )
    if filters["kind"] in KINDS:
        kinds = _newest_of_outer_grader().annotate(kind=KeyTextTransform("type", "definition"))
        graders = graders.filter(Exists(kinds.filter(kind=filters["kind"])))
    if filters["check"] in CHECKS:
        checks = GraderCheck.objects.filter(CHECKS[filters["check"]][1], version=OuterRef("pk"))
        graders = graders.filter(Exists(_newest_of_outer_grader().filter(Exists(checks))))
    if text := filters["q"]:
        graders = graders.filter(Q(name__icontains=text) | Q(description__icontains=text) | Q(uid=text))
    return graders


def _newest_of_outer_grader() -> QuerySet[GraderVersion]:
    """Return the newest version of the grader in the enclosing query."""
    numbers = GraderVersion.objects.filter(grader=OuterRef("grader")).order_by("-number").values("number")
    return GraderVersion.objects.filter(grader=OuterRef("pk"), number=Subquery(numbers[:1]))
