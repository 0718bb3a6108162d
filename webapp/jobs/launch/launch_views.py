"""The new-job page: the form, what is redrawn while it is filled in, and the launch."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render

from webapp.core.http import HtmxRequest
from webapp.datasets.models import DatasetVersion
from webapp.environments.launching import (
    annotate_environments,
    find_environment_of_rows,
    list_usable_versions,
)
from webapp.graders.models import GraderVersion
from webapp.jobs import services
from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.launch import adapter_field, defaults, forecast, row_formsets
from webapp.jobs.launch.job_form import JobForm
from webapp.jobs.launch.overlaps import Overlap, find_overlaps
from webapp.jobs.launch.request import JobRequest, suite_choices, task_choices
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job
from webapp.jobs.monitor.job_views import all_jobs
from webapp.jobs.states import TERMINAL
from webapp.registry import exporting
from webapp.registry.models import BaseModel
from webapp.registry.services import list_base_models
from webapp.teams.access import Access, member
from webapp.teams.models import Role, Team

Choices = dict[str, QuerySet[Any]]
UNANSWERED = "Nothing was launched yet: choose what happens to the other job."


def _load_choices(access: Access) -> Choices:
    team = access.team
    versions = DatasetVersion.objects.filter(dataset__team=team, dataset__deleted_at=None).select_related(
        "dataset"
    )
    graders = GraderVersion.objects.filter(grader__team=team, grader__deleted_at=None).select_related(
        "grader__team"
    )
    return {
        "base_models": list_base_models(team),
        "versions": annotate_environments(versions.defer("report").order_by("-id")),
        "graders": graders.order_by("-id"),
        "environments": list_usable_versions(team),
        "starts": adapter_field.find_adapters(team),
    }


def _find_by_uid(choices: QuerySet[Any], uid: str) -> Any:
    return next((each for each in choices if each.uid == uid), None)


def _find_by_uid_or_newest(choices: QuerySet[Any], uid: str) -> Any:
    return _find_by_uid(choices, uid) or next(iter(choices), None)


def _initial_values(request: HttpRequest, choices: Choices, source: Job | None) -> dict[str, Any]:
    """Return the cloned job's choices; without one, what the query string names, or the newest."""
    if source:
        return {
            "name": services.next_name(source),
            "base_model": source.base_model,
            "dataset_version": source.dataset_version,
            "grader_version": source.grader_version,
            "environment_version": source.environment_version,
            "held_out_grader": source.held_out_grader,
            "initial_adapter": source.initial_adapter,
            "tasks": task_choices(source),
            "suites": suite_choices(source),
        }
    start = request.GET.get("start", "")
    version = _find_by_uid(choices["versions"], request.GET.get("dataset", ""))
    grader = _find_by_uid(choices["graders"], request.GET.get("grader", ""))
    environment = _find_by_uid(choices["environments"], request.GET.get("environment", ""))
    rows = version or _find_by_uid_or_newest(choices["versions"], "")
    if rows and not grader:
        environment = environment or find_environment_of_rows(rows, choices["environments"])
    version, grader = defaults.complete_choices(
        version, grader, choices["versions"], choices["graders"], environment
    )
    if version and not environment:
        environment = find_environment_of_rows(version, choices["environments"])
    return {
        "name": version.dataset.name[:120] if version else "Job",
        "base_model": _find_by_uid_or_newest(choices["base_models"], request.GET.get("base", "")),
        "dataset_version": version,
        "grader_version": grader,
        "environment_version": environment,
        "initial_adapter": choices["starts"].filter(uid=start).first() if start else None,
    }


def _starting_settings(base: BaseModel | None, source: Job | None) -> dict[str, Any]:
    """Return the cloned job's settings, or on another base model what that one recommends."""
    settings: dict[str, Any] = base.settings if base else {}
    return source.settings.model_dump(mode="json") if source and source.base_model == base else settings


def _build_form(
    data: Any, choices: Choices, base: BaseModel | None, source: Job | None, initial: dict[str, Any]
) -> JobForm:
    """Build the form with the settings of the clone or of ``base``, and with the presets of ``base``."""
    recommended = base.settings if base else {}
    return JobForm(
        data, **choices, settings=_starting_settings(base, source), recommended=recommended, initial=initial
    )


@member(Role.EDITOR)
def new(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the form and launch the job; htmx requests redraw the estimates."""
    uid = request.GET.get("from")
    source = access.get(all_jobs(), uid=uid) if uid else None
    choices = _load_choices(access)
    initial = _initial_values(request, choices, source)
    filled = request.POST or (request.GET if request.htmx else None)
    base = initial["base_model"]
    if filled:  # the model whose settings the form shows, which need not be the one it names
        base = _find_by_uid(choices["base_models"], filled.get("settings_of", "")) or base
    form = _build_form(filled, choices, base, source, initial)
    if not request.htmx:  # whose query string has the values of the form itself
        form.use_settings(defaults.read_settings(request.GET))
    form.use_preset(request.GET.get("preset", ""))
    if filled is request.GET:
        return _redraw(request, access, form, choices, base, source)
    more = {row_formsets.ADD_TASK, row_formsets.ADD_SUITE} & request.POST.keys()
    replacement = _replacement(request, source)
    unanswered = request.method == "POST" and not more and replacement == ""
    if request.method == "POST" and not more and not unanswered:
        if job := _find_launched_job(access.team, request.POST.get("ticket", "")):
            messages.info(request, "This form was sent before; here is its job. To launch another, clone it.")
            return redirect(job)
        replaced = source if replacement == "cancel" else None
        if job := _launch(access, form, source, replaced):
            cancelled = f" Cancelled “{replaced.name}”." if replaced else ""
            messages.success(request, f"Launched “{job.name}”.{cancelled}")
            return redirect(job)
    ready = bool(initial["dataset_version"] and initial["grader_version"])
    context = {
        "form": form,
        "source": source,
        "ready": ready,
        "settings_of": base,
        "replaceable": replacement is not None,
        "asks_replace": "replace" in request.GET,
        "replace": replacement,
        "replace_error": UNANSWERED if unanswered else "",
    }
    if ready:
        context |= _forecast_context(access, form, source)
    refused = form.has_errors or unanswered
    return render(request, "jobs/new.html", context, status=422 if refused else 200)


def _replacement(request: HttpRequest, source: Job | None) -> str | None:
    """Return ``cancel`` or ``keep`` for the cloned job, empty until chosen; None if the job has ended."""
    if source is None or source.state in TERMINAL:
        return None
    default = "" if "replace" in request.GET else "keep"
    answer = request.POST.get("replace", default)
    return answer if answer in ("cancel", "keep") else ""


def _forecast_context(access: Access, form: JobForm, source: Job | None) -> dict[str, Any]:
    """Return what the side column shows for the values that are filled in."""
    return (
        forecast.forecast_job(access.team, form, source)
        | exporting.build_forecast_context(form.values["base_model"])
        | {"overlaps": _overlaps(form)}
    )


def _overlaps(form: JobForm) -> list[Overlap]:
    """Find training rows that other tasks or suites hold out."""
    suites = [(each.name, each.dataset_version) for each in form.read_suites() if each.dataset_version]
    return find_overlaps(form.read_tasks(), suites)


def _redraw(
    request: HttpRequest,
    access: Access,
    form: JobForm,
    choices: Choices,
    before: BaseModel | None,
    source: Job | None,
) -> HttpResponse:
    """Redraw what depends on the values; after a change of the base model, also that model's settings."""
    base = form.values["base_model"]
    context: dict[str, Any] = {"source": source, "redrawn": True, "settings_of": before}
    if base and before and base != before:
        sent, taken, kept = _switch_base_model(request.GET, form, _starting_settings(base, source))
        form = _build_form(sent, choices, base, source, dict(form.initial))
        context |= {"swapped_from": before, "taken": taken, "kept": kept, "settings_of": base}
    context |= {"form": form} | _forecast_context(access, form, source)
    return render(request, "jobs/redrawn.html", context)


def _switch_base_model(
    sent: QueryDict, form: JobForm, advised: dict[str, Any]
) -> tuple[QueryDict, list[str], list[str]]:
    """Return the sent data with the other model's settings, and the labels that it took and kept.

    Fields that the user changed keep their value.
    """
    data, taken, kept = sent.copy(), [], []
    for name, value in form.recommend_values(advised).items():
        field, label = form[name], str(form[name].label)
        if form.is_changed(name):
            kept.append(label)
        elif value != field.initial:
            data[name] = forecast.format_as_sent(value)
            taken.append(label)
            if not data[name]:
                del data[name]
    return data, taken, kept


def _find_launched_job(team: Team, ticket: str) -> Job | None:
    """Return the job that this very form launched."""
    return Job.objects.filter(team=team, ticket=ticket).select_related("team").first() if ticket else None


def _launch(access: Access, form: JobForm, source: Job | None, replaced: Job | None) -> Job | None:
    """Launch the job and cancel ``replaced``. None if the form is wrong: it then has the errors."""
    if not form.is_valid():
        return None
    data = form.cleaned_data
    try:
        with transaction.atomic():
            # A second press waits here until the first has launched, and then finds its job.
            Team.objects.select_for_update(no_key=True).get(pk=access.team.pk)
            if job := _find_launched_job(access.team, data["ticket"]):
                return job
            request = JobRequest(
                team=access.team,
                user=access.user,
                name=data["name"],
                base_model=data["base_model"],
                tasks=form.read_tasks(),
                settings=form.settings(),
                suites=form.read_suites(),
                initial_adapter=data["initial_adapter"],
                held_out_grader=data["held_out_grader"],
                cloned_from=source,
                ticket=data["ticket"],
            )
            job = launch(request)
            if replaced:
                services.replace(replaced, access.user)
            return job
    except SettingsInvalid as error:
        form.add_setting_errors(error.errors)
        return None
