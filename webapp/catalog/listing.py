"""The list of a team's models, and the deleted ones."""

from __future__ import annotations

from django.db.models import Prefetch, Q, QuerySet
from django.http import QueryDict

from webapp.core.deletion import find_undoable
from webapp.core.listing import ListQuery, Sorts
from webapp.core.models import SoftDeletedQuerySet
from webapp.jobs.evaluations import order_by_gain
from webapp.jobs.models import Evaluation, SuiteScore
from webapp.jobs.monitor.openings import jobs_with_openings
from webapp.registry.models import BaseModel, TunedModel
from webapp.retention import gate
from webapp.teams.models import Team

SORTS: Sorts = {
    "": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "gain": ("Greatest gain", (order_by_gain("job"), "-id")),
    "name": ("Name", ("name", "-id")),
    "base": ("Base model", ("base_model__model_id", "-id")),
}
ORIGINS = {"job": ("Made by a job", Q(uploaded=False)), "upload": ("Uploaded", Q(uploaded=True))}


def models_with_results() -> SoftDeletedQuerySet[TunedModel]:
    """Return models with their sources and, as ``job.evaluations``, the results after training."""
    after = Evaluation.objects.filter(stage="after", tuned__isnull=False, task="")
    return _models().prefetch_related(
        Prefetch("job__evaluations", after.defer("comparison")),
        Prefetch("job__suite_scores", SuiteScore.objects.filter(stage="after")),
    )


def models_with_history() -> SoftDeletedQuerySet[TunedModel]:
    """Return the same with every result, also before and during training."""
    every = Evaluation.objects.defer("comparison")
    return _models().prefetch_related(Prefetch("job__evaluations", every), "job__suite_scores")


def _models() -> SoftDeletedQuerySet[TunedModel]:
    return TunedModel.objects.select_related(
        "team", "base_model", "job__team", "job__initial_adapter__team",
        "job__dataset_version__dataset__team", "job__grader_version__grader__team", "release__released_by",
    ).prefetch_related("job__suites")  # fmt: skip


def build_context(team: Team, query: QueryDict) -> dict[str, object]:
    """Return what ``catalog/list.html`` shows: the page that the query string asks for, and its filters."""
    wanted = ListQuery(query, SORTS, ("base", "origin"))
    page = wanted.paginate(_filter_models(team, wanted.filters))
    models = gate.add_gates(page)
    jobs = (getattr(model, "job", None) for model in models)
    bases = TunedModel.objects.alive().filter(team=team).order_by().values("base_model").distinct()
    return wanted.build_context() | {
        "page": page,
        "models": models,
        "test_opened": jobs_with_openings([job for job in jobs if job]),
        "bases": BaseModel.objects.filter(pk__in=bases),
        "origins": [(key, title) for key, (title, _) in ORIGINS.items()],
        "undo": find_undoable(list_restorable(team), query),
    }


def list_restorable(team: Team) -> QuerySet[TunedModel]:
    """Return the team's deleted models whose files are still there."""
    return TunedModel.objects.deleted().filter(team=team).exclude(files=[]).select_related("team")


def _filter_models(team: Team, filters: dict[str, str]) -> QuerySet[TunedModel]:
    models = models_with_results().alive().filter(team=team)
    if filters["origin"] in ORIGINS:
        models = models.filter(ORIGINS[filters["origin"]][1])
    if filters["base"]:
        models = models.filter(base_model__uid=filters["base"])
    if text := filters["q"]:
        models = models.filter(Q(name__icontains=text) | Q(uid=text) | Q(job__name__icontains=text))
    return models
