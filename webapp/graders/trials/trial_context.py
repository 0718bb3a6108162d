"""Trials as pages show them: the form of their rows and answers, where they stand, their results."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpRequest

from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.graders.trials import presenters, row_selection
from webapp.graders.trials.trial_forms import TrialForm
from webapp.registry.models import BaseModel
from webapp.teams.access import Access
from webapp.work import nodes

Json = dict[str, Any]
State = GraderTrial.State


def form(
    access: Access, grader: Grader | None, edited: GraderVersion | None,
    trial: GraderTrial | None = None, data: Any = None,
) -> TrialForm:  # fmt: skip
    """The rows and answers to choose, with those of ``trial`` chosen; ``edited`` is what the editor shows."""
    second = GraderVersion.objects.filter(grader__team=access.team, grader__deleted_at=None)
    version = _chosen(access, grader, edited, trial, data)
    return TrialForm(
        data,
        versions=_versions(access).defer("report").order_by("-id"),
        base_models=BaseModel.objects.filter(Q(team=access.team) | Q(team=None)),
        graders=second.select_related("grader").defer("definition").order_by("-id"),
        field_names=row_selection.field_names(version) if version else [],
        latest=edited.definition if edited else None,
        initial=_choices(trial) if trial else _first_choices(grader, edited, version),
    )


def _chosen(
    access: Access, grader: Grader | None, edited: GraderVersion | None,
    trial: GraderTrial | None, data: Any,
) -> DatasetVersion | None:  # fmt: skip
    """Whose rows the form has chosen."""
    if data is not None:
        return _version(access, data.get("version", ""))
    if trial:
        return trial.dataset_version
    return row_selection.dataset_version(grader, edited.definition) if grader and edited else None


def field_names(access: Access, version: str) -> list[str]:
    """The fields of the team's dataset version with this key; none if it is not there."""
    shown = _version(access, version)
    return row_selection.field_names(shown) if shown else []


def _version(access: Access, key: str) -> DatasetVersion | None:
    number = parse_whole_number(key, GREATEST)
    found: DatasetVersion | None = _versions(access).filter(pk=number).first() if number else None
    return found


def _versions(access: Access) -> Any:
    return DatasetVersion.objects.filter(
        dataset__team=access.team, dataset__deleted_at=None
    ).select_related("dataset")  # fmt: skip


def _choices(trial: GraderTrial) -> Json:
    chosen = {"version": trial.dataset_version_id, "second": trial.second_id}
    base = {"base_model": trial.base_model_id} if trial.base_model_id else {}
    return {**trial.choices, **chosen, **base}


def _first_choices(
    grader: Grader | None, edited: GraderVersion | None, version: DatasetVersion | None
) -> Json:
    """The dataset that fits the grader, and its right answers."""
    if not (grader and edited and version):
        return {}
    reference = row_selection.reference_of(grader, edited.definition, version)
    return {"version": version.pk, "field": reference or "reference"}


def context(request: HttpRequest, trial: GraderTrial) -> Json:
    """What ``graders/trial.html`` shows."""
    home = presenters.home(trial)
    about = {
        "trial": trial,
        "chosen": presenters.chosen(trial),
        "home": home + ("&" if "?" in home else "?"),
        "pending": trial.pending,
        "worker_online": nodes.find_online().exists(),
    }
    if trial.state == State.FINISHED:
        about["shown"] = presenters.shown(trial, request.GET.dict())
    return about
