"""Template contexts of trials: the form of their rows and answers, their state, their results."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict

from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.graders.trials import presenters, row_selection
from webapp.graders.trials.trial_forms import TrialForm
from webapp.registry.services import list_base_models
from webapp.teams.access import Access
from webapp.work import nodes


def build_form(
    access: Access, grader: Grader | None, edited: GraderVersion | None,
    trial: GraderTrial | None = None, data: QueryDict | None = None,
) -> TrialForm:  # fmt: skip
    """Return the form, filled in from ``trial`` if there is one. ``edited`` is the version in the editor."""
    second = GraderVersion.objects.filter(grader__team=access.team, grader__deleted_at=None)
    if data is not None:
        version = _find_version(access, data.get("version", ""))
    elif trial:
        version = trial.dataset_version
    elif grader and edited:
        version = row_selection.find_dataset_version(grader, edited.definition)
    else:
        version = None
    return TrialForm(
        data,
        versions=_list_versions(access).defer("report").order_by("-id"),
        base_models=list_base_models(access.team),
        graders=second.select_related("grader").defer("definition").order_by("-id"),
        field_names=row_selection.list_field_names(version) if version else [],
        latest=edited.definition if edited else None,
        initial=_read_choices(trial) if trial else _propose_choices(grader, edited, version),
    )


def list_field_names(access: Access, version: str) -> list[str]:
    """Return the fields of the team's dataset version with this key; none if there is no such version."""
    found = _find_version(access, version)
    return row_selection.list_field_names(found) if found else []


def _find_version(access: Access, key: str) -> DatasetVersion | None:
    number = parse_whole_number(key, GREATEST)
    return _list_versions(access).filter(pk=number).first() if number else None


def _list_versions(access: Access) -> QuerySet[DatasetVersion]:
    versions = DatasetVersion.objects.filter(dataset__team=access.team, dataset__deleted_at=None)
    return versions.select_related("dataset")


def _read_choices(trial: GraderTrial) -> dict[str, object]:
    base = {"base_model": trial.base_model_id} if trial.base_model_id else {}
    return {**trial.choices, "version": trial.dataset_version_id, "second": trial.second_id, **base}


def _propose_choices(
    grader: Grader | None, edited: GraderVersion | None, version: DatasetVersion | None
) -> dict[str, object]:
    """Propose the dataset that fits the grader, and its right answers."""
    if not (grader and edited and version):
        return {}
    reference = row_selection.find_reference_field(grader, edited.definition, version)
    return {"version": version.pk, "field": reference or "reference"}


def build_context(request: HttpRequest, trial: GraderTrial) -> dict[str, object]:
    """Return what ``graders/trial.html`` shows."""
    home = presenters.build_trial_url(trial)
    context: dict[str, object] = {
        "trial": trial,
        "description": presenters.describe_trial(trial),
        "home": home + ("&" if "?" in home else "?"),
        "pending": trial.pending,
        "worker_online": nodes.find_online().exists(),
    }
    if trial.state == GraderTrial.State.FINISHED:
        context["shown"] = presenters.present_results(trial, request.GET.dict())
    return context
