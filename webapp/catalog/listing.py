"""The lists of a team's models, a page at a time: found by text, base and origin, sorted; and the deleted."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import Prefetch, Q, QuerySet
from django.http import QueryDict

from webapp.jobs.evaluations import order_by_gain
from webapp.jobs.models import Evaluation, SuiteScore
from webapp.jobs.monitor.openings import jobs_with_openings
from webapp.registry.models import BaseModel, TunedModel
from webapp.retention import gate
from webapp.teams.models import Team

PAGE = 50
SORTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "gain": ("Greatest gain", (order_by_gain("job"), "-id")),
    "name": ("Name", ("name", "-id")),
    "base": ("Base model", ("base_model__model_id", "-id")),
}
ORIGINS = {"job": ("Made by a job", Q(uploaded=False)), "upload": ("Uploaded", Q(uploaded=True))}


def models_with_results() -> QuerySet[TunedModel]:
    """Models with what made them and, as ``job.evaluations``, what was measured after training."""
    after = Evaluation.objects.filter(stage="after", tuned__isnull=False, task="")
    return _models().prefetch_related(
        Prefetch("job__evaluations", after.defer("comparison")),
        Prefetch("job__suite_scores", SuiteScore.objects.filter(stage="after")),
    )


def models_with_history() -> QuerySet[TunedModel]:
    """The same with every measurement, also before and during training."""
    every = Evaluation.objects.defer("comparison")
    return _models().prefetch_related(Prefetch("job__evaluations", every), "job__suite_scores")


def _models() -> QuerySet[TunedModel]:
    return TunedModel.objects.select_related(
        "team", "base_model", "job__team", "job__initial_adapter__team",
        "job__dataset_version__dataset__team", "job__grader_version__grader__team", "release__released_by",
    ).prefetch_related("job__suites")  # fmt: skip


def of(team: Team, query: QueryDict) -> dict[str, Any]:
    """The page of models that the address asks for, and what its filters hold."""
    chosen = {name: query.get(name, "").strip() for name in ("q", "base", "origin", "sort")}
    page = Paginator(_found(team, chosen), PAGE).get_page(query.get("page"))
    models = gate.marked(page)
    jobs = (getattr(model, "job", None) for model in models)
    return {
        "page": page,
        "models": models,
        "test_opened": jobs_with_openings([job for job in jobs if job]),
        "chosen": chosen,
        "filtered": any(chosen[name] for name in ("q", "base", "origin")),
        "bases": BaseModel.objects.filter(pk__in=_kept(team).order_by().values("base_model").distinct()),
        "origins": [(key, title) for key, (title, _) in ORIGINS.items()],
        "sorts": [(key, title) for key, (title, _) in SORTS.items()],
        "undo": restorable(team).filter(uid=query.get("deleted", "")).first() if "deleted" in query else None,
    }


def deleted(team: Team, query: QueryDict) -> dict[str, Any]:
    """The page of deleted models whose files are still there, the last deleted first."""
    page = Paginator(restorable(team).order_by("-deleted_at"), PAGE).get_page(query.get("page"))
    return {"page": page, "models": page.object_list}


def restorable(team: Team) -> QuerySet[TunedModel]:
    """Deleted models of the team that can come back."""
    return (
        TunedModel.objects.filter(team=team).exclude(deleted_at=None).exclude(files=[]).select_related("team")
    )


def _kept(team: Team) -> QuerySet[TunedModel]:
    return TunedModel.objects.filter(team=team, deleted_at=None)


def _found(team: Team, chosen: dict[str, str]) -> QuerySet[TunedModel]:
    models = models_with_results().filter(team=team, deleted_at=None)
    if chosen["origin"] in ORIGINS:
        models = models.filter(ORIGINS[chosen["origin"]][1])
    if chosen["base"]:
        models = models.filter(base_model__uid=chosen["base"])
    if text := chosen["q"]:
        models = models.filter(Q(name__icontains=text) | Q(uid=text) | Q(job__name__icontains=text))
    return models.order_by(*SORTS.get(chosen["sort"], SORTS[""])[1])
