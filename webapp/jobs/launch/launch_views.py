"""The new-job page: the form, what is redrawn while it is filled in, and the launch."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render

from webapp.core.http import HtmxRequest
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import GraderVersion
from webapp.jobs import services
from webapp.jobs.launch import defaults, forecast, job_tasks, suite_fields, task_fields
from webapp.jobs.launch import suites as job_suites
from webapp.jobs.launch.job_form import JobForm
from webapp.jobs.launch.overlaps import Overlap, find_overlaps
from webapp.jobs.models import Job
from webapp.jobs.monitor.job_views import all_jobs
from webapp.jobs.states import TERMINAL
from webapp.registry import exporting
from webapp.registry.models import BaseModel
from webapp.teams.access import Access, member
from webapp.teams.models import Role, Team

Choices = dict[str, QuerySet[Any]]
UNANSWERED = "Nothing was launched yet: choose what happens to the other job."


def _choices(access: Access) -> Choices:
    team = access.team
    versions = DatasetVersion.objects.filter(dataset__team=team, dataset__deleted_at=None).select_related(
        "dataset"
    )
    graders = GraderVersion.objects.filter(grader__team=team, grader__deleted_at=None).select_related(
        "grader__team"
    )
    return {
        "base_models": BaseModel.objects.filter(Q(team=team) | Q(team=None)),
        "versions": versions.defer("report").order_by("-id"),
        "graders": graders.order_by("-id"),
        "starts": task_fields.offered_starts(team),
    }


def _named(choices: QuerySet[Any], uid: str) -> Any:
    return next((each for each in choices if each.uid == uid), None)


def _named_or_newest(choices: QuerySet[Any], uid: str) -> Any:
    return _named(choices, uid) or next(iter(choices), None)


def _initial(request: HttpRequest, choices: Choices, source: Job | None) -> dict[str, Any]:
    """What to start from: the cloned job's choices; without one, what the address names, or the newest."""
    if source:
        return {
            "name": services.next_name(source),
            "base_model": source.base_model,
            "dataset_version": source.dataset_version,
            "grader_version": source.grader_version,
            "held_out_grader": source.held_out_grader,
            "start": source.start,
            "tasks": job_tasks.choices_of(source),
            "suites": job_suites.choices_of(source),
        }
    start = request.GET.get("start", "")
    version = _named(choices["versions"], request.GET.get("dataset", ""))
    grader = _named(choices["graders"], request.GET.get("grader", ""))
    version, grader = defaults.complete(version, grader, choices["versions"], choices["graders"])
    return {
        "name": version.dataset.name[:120] if version else "Job",
        "base_model": _named_or_newest(choices["base_models"], request.GET.get("base", "")),
        "dataset_version": version,
        "grader_version": grader,
        "start": choices["starts"].filter(uid=start).first() if start else None,
    }


def _advised(base: BaseModel | None, source: Job | None) -> dict[str, Any]:
    """The settings to start with: the cloned job's, and on another base model what that one recommends."""
    settings: dict[str, Any] = base.settings if base else {}
    return dict(source.settings) if source and source.base_model == base else settings


def _form(
    data: Any, choices: Choices, base: BaseModel | None, source: Job | None, initial: dict[str, Any]
) -> JobForm:
    """The form with the settings that ``base`` recommends, or a clone has, and presets of the former."""
    recommended = base.settings if base else {}
    return JobForm(data, **choices, settings=_advised(base, source), recommended=recommended, initial=initial)


@member(Role.EDITOR)
def new(request: HtmxRequest, access: Access) -> HttpResponse:
    """The form; htmx asks again with what is filled in, for another estimate or another model's settings."""
    uid = request.GET.get("from")
    source = access.get(all_jobs(), uid=uid) if uid else None
    choices = _choices(access)
    initial = _initial(request, choices, source)
    filled = request.POST or (request.GET if request.htmx else None)
    base = initial["base_model"]
    if filled:  # the model whose settings the form shows, which need not be the one it names
        base = _named(choices["base_models"], filled.get("settings_of", "")) or base
    form = _form(filled, choices, base, source, initial)
    form.use_preset(request.GET.get("preset", ""))
    if filled is request.GET:
        return _redrawn(request, access, form, choices, base, source)
    more = {task_fields.MORE, suite_fields.MORE} & request.POST.keys()
    replacement = _replacement(request, source)
    unanswered = request.method == "POST" and not more and replacement == ""
    if request.method == "POST" and not more and not unanswered:
        if job := _launched_before(access.team, request.POST.get("ticket", "")):
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
        context |= _beside(access, form, source)
    refused = form.errors or unanswered
    return render(request, "jobs/new.html", context, status=422 if refused else 200)


def _replacement(request: HttpRequest, source: Job | None) -> str | None:
    """``cancel`` or ``keep`` the cloned job; empty while nobody has said. None where it has ended."""
    if source is None or source.state in TERMINAL:
        return None
    default = "" if "replace" in request.GET else "keep"
    answer = request.POST.get("replace", default)
    return answer if answer in ("cancel", "keep") else ""


def _beside(access: Access, form: JobForm, source: Job | None) -> dict[str, Any]:
    """What stands beside the form and follows what is filled in."""
    values = form.values
    return (
        forecast.of(access.team, form, values, form.settings(), source)
        | exporting.build_forecast_context(values["base_model"])
        | {"overlaps": _overlaps(values)}
    )


def _overlaps(values: dict[str, Any]) -> list[Overlap]:
    """Training rows that other tasks or suites hold out."""
    if not values["dataset_version"]:
        return []
    own = [each for each in suite_fields.chosen(values) if each.dataset_version]
    suites = [(each.name, each.dataset_version) for each in own if each.dataset_version]
    return find_overlaps(task_fields.chosen(values), suites)


def _redrawn(
    request: HttpRequest,
    access: Access,
    form: JobForm,
    choices: Choices,
    before: BaseModel | None,
    source: Job | None,
) -> HttpResponse:
    """What follows from what is filled in; after a change of the base model, also that model's settings."""
    base = form.values["base_model"]
    context: dict[str, Any] = {"source": source, "redrawn": True, "settings_of": before}
    if base and before and base != before:
        sent, taken, kept = _on_another_base(request.GET, form, _advised(base, source))
        form = _form(sent, choices, base, source, dict(form.initial))
        context |= {"swapped_from": before, "taken": taken, "kept": kept, "settings_of": base}
    context |= {"form": form} | _beside(access, form, source)
    return render(request, "jobs/redrawn.html", context)


def _on_another_base(
    sent: QueryDict, form: JobForm, advised: dict[str, Any]
) -> tuple[QueryDict, list[str], list[str]]:
    """What was sent with the other model's settings, save what the person changed; labels of both."""
    data, taken, kept = sent.copy(), [], []
    for name, value in form.advice(advised).items():
        field, label = form[name], str(form[name].label)
        if form.is_own(name):
            kept.append(label)
        elif value != field.initial:
            data[name] = forecast.as_sent(value)
            taken.append(label)
            if not data[name]:
                del data[name]
    return data, taken, kept


def _launched_before(team: Team, ticket: str) -> Job | None:
    """The job that this very form launched."""
    return Job.objects.filter(team=team, ticket=ticket).select_related("team").first() if ticket else None


def _launch(access: Access, form: JobForm, source: Job | None, replaced: Job | None) -> Job | None:
    """The launched job, which takes the place of ``replaced``; else the form holds what is wrong."""
    if not form.is_valid():
        return None
    data = form.cleaned_data
    try:
        with transaction.atomic():
            # A second press waits here until the first has launched, and then finds its job.
            Team.objects.select_for_update(no_key=True).get(pk=access.team.pk)
            if job := _launched_before(access.team, data["ticket"]):
                return job
            job = job_suites.launch_with_suites(
                access.team,
                access.user,
                name=data["name"],
                base_model=data["base_model"],
                tasks=task_fields.chosen(data),
                suites=suite_fields.chosen(data),
                start=data["start"],
                settings=form.settings(),
                cloned_from=source,
                held_out_grader=data["held_out_grader"],
                ticket=data["ticket"],
            )
            if replaced:
                services.replace(replaced, access.user)
            return job
    except services.SettingsInvalid as error:
        form.add_setting_errors(error.errors)
        return None
