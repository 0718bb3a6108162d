"""The list of a team's graders: found by text, kind and state of the check, sorted, in pages; the deleted."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.http import QueryDict

from webapp.graders.models import Grader, GraderCheck, GraderVersion
from webapp.teams.models import Team
from workers.grading import KINDS

PAGE = 50
SORTS = {
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
    """The newest version of each grader."""
    return GraderVersion.objects.order_by("grader_id", "-number").distinct("grader_id")


def of(team: Team, query: QueryDict) -> dict[str, Any]:
    """The page of graders that the address asks for, and what its filters hold."""
    chosen = {name: query.get(name, "").strip() for name in ("q", "kind", "check", "sort")}
    page = Paginator(_found(team, chosen), PAGE).get_page(query.get("page"))
    checks = (getattr(version, "check_run", None) for grader in page for version in grader.newest)  # type: ignore[attr-defined]
    return {
        "page": page,
        "checking": any(check is not None and check.pending for check in checks),
        "graders": page.object_list,
        "chosen": chosen,
        "filtered": any(chosen[name] for name in ("q", "kind", "check")),
        "kinds": [(kind.type, kind.label) for kind in KINDS.values()],
        "checks": [(key, title) for key, (title, _) in CHECKS.items()],
        "sorts": [(key, title) for key, (title, _) in SORTS.items()],
        "undo": restorable(team).filter(uid=query["deleted"]).first() if "deleted" in query else None,
    }


def deleted(team: Team, query: QueryDict) -> dict[str, Any]:
    """The page of deleted graders, the last deleted first."""
    page = Paginator(restorable(team).order_by("-deleted_at"), PAGE).get_page(query.get("page"))
    return {"page": page, "graders": page.object_list}


def restorable(team: Team) -> QuerySet[Grader]:
    """Deleted graders of the team; all of them can come back."""
    return Grader.objects.filter(team=team).exclude(deleted_at=None).select_related("team")


def _found(team: Team, chosen: dict[str, str]) -> QuerySet[Grader]:
    versions = newest_versions().select_related("check_run")
    graders = (
        Grader.objects.filter(team=team, deleted_at=None)
        .annotate(jobs=Count("versions__jobs"))
        .select_related("team")
        .prefetch_related(Prefetch("versions", versions, to_attr="newest"))
    )
    if chosen["kind"] in KINDS:
        kinds = _newest().annotate(kind=KeyTextTransform("type", "definition"))
        graders = graders.filter(Exists(kinds.filter(kind=chosen["kind"])))
    if chosen["check"] in CHECKS:
        checks = GraderCheck.objects.filter(CHECKS[chosen["check"]][1], version=OuterRef("pk"))
        graders = graders.filter(Exists(_newest().filter(Exists(checks))))
    if text := chosen["q"]:
        graders = graders.filter(Q(name__icontains=text) | Q(description__icontains=text) | Q(uid=text))
    return graders.order_by(*SORTS.get(chosen["sort"], SORTS[""])[1])


def _newest() -> QuerySet[GraderVersion]:
    """The newest version of the grader in the query around it."""
    numbers = GraderVersion.objects.filter(grader=OuterRef("grader")).order_by("-number").values("number")
    return GraderVersion.objects.filter(grader=OuterRef("pk"), number=Subquery(numbers[:1]))
