"""Pages of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.config.streaming import csv_lines, streamed
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import GraderVersion
from webapp.judges import services as judges
from webapp.registry import exporting
from webapp.registry.models import BaseModel
from webapp.retention import forms as suite_forms
from webapp.retention import services as retention
from webapp.teams.access import Access, member
from webapp.teams.models import Role, User

from . import (
    beside,
    charts,
    health,
    listing,
    log_views,
    nodes,
    outlook,
    phases,
    presenters,
    services,
    task_forms,
    tasks,
    written,
)
from .forms import JobForm
from .metrics import series, table
from .models import Job
from .states import TERMINAL, State

PARTS = {f"job-{part}": f"jobs/detail.html#{part}" for part in ("head", "health", "evaluations", "lines")} | {
    "job-actions": "jobs/actions.html",
    "chooser": "jobs/chooser.html",
}
KEPT = ("name", "base_model", "dataset_version", "grader_version", "held_out_grader")


def all_jobs() -> QuerySet[Job]:
    """Jobs with what their pages show besides."""
    return Job.objects.select_related(
        "team",
        "base_model",
        "dataset_version__dataset__team",
        "grader_version__grader__team",
        "held_out_grader__grader__team",
        "start__team",
        "interference_of__team",
        "arm_of__team",
        "node",
        "tuned_model__team",
        "cloned_from__team",
    )


@member()
@require_GET
def job_list(request: HttpRequest, access: Access) -> HttpResponse:
    context = listing.of(access.team, request.GET)
    jobs = list(context["page"])
    presenters.add_results(jobs)
    context["jobs"] = jobs
    context["uncalibrated"] = judges.uncalibrated(access.team, [job.grader_version for job in jobs])
    part = "#table" if request.htmx.target == "job-table" else ""  # type: ignore[attr-defined]
    return render(request, f"jobs/list.html{part}", context)


# --- launching -----------------------------------------------------------------------------------


def _choices(access: Access) -> dict[str, QuerySet[Any]]:
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
        "starts": task_forms.offered_starts(team),
    }


Start = tuple[dict[str, Any], dict[str, Any], Job | None]


def _initial(access: Access, request: HttpRequest, choices: dict[str, QuerySet[Any]]) -> Start:
    """(choices, settings, cloned job) to start from; without a clone, the newest of everything."""
    if uid := request.GET.get("from"):
        source = access.get(all_jobs(), uid=uid)
        initial = {
            "name": services.next_name(source),
            "base_model": source.base_model,
            "dataset_version": source.dataset_version,
            "grader_version": source.grader_version,
            "held_out_grader": source.held_out_grader,
            "start": source.start,
            "tasks": tasks.choices_of(source),
            "suites": retention.choices_of(source),
        }
        return initial, source.settings, source

    def named_or_newest(name: str, key: str) -> Any:
        uid = request.GET.get(name)
        return (uid and choices[key].filter(uid=uid).first()) or choices[key].first()

    base, version = named_or_newest("base", "base_models"), named_or_newest("dataset", "versions")
    initial = {
        "name": version.dataset.name[:120] if version else "Job",
        "base_model": base,
        "dataset_version": version,
        "grader_version": named_or_newest("grader", "graders"),
        "start": choices["starts"].filter(uid=request.GET.get("start", "")).first(),
    }
    return initial, base.settings if base else {}, None


@member(Role.EDITOR)
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """The form; htmx asks again with what is filled in, for another estimate or another model's settings."""
    choices = _choices(access)
    initial, settings, source = _initial(access, request, choices)
    filled = request.POST or (request.GET if request.htmx else None)  # type: ignore[attr-defined]
    form = JobForm(filled, **choices, settings=settings, initial=initial)
    form.use_preset(request.GET.get("preset", ""))
    more = {task_forms.MORE, suite_forms.MORE} & request.POST.keys()
    asked = request.method == "POST" and not more
    replaced = source if source and "replace" in request.POST else None
    if asked and (job := _launch(access, form, source, replaced)):
        messages.success(request, f"Launched “{job.name}”.")
        return redirect(job)
    if filled is request.GET:
        return _redrawn(request, access, form, choices, source)
    ready = bool(initial["dataset_version"] and initial["grader_version"])
    context = {
        "form": form,
        "source": source,
        "ready": ready,
        "replaceable": source and source.state not in TERMINAL,
        "replace": "replace" in request.GET or replaced,
    }
    if ready:
        context |= outlook.of(access.team, form, form.values, form.settings(), source)
        context |= exporting.outlook(form.values["base_model"])
    return render(request, "jobs/new.html", context, status=422 if form.errors else 200)


def _redrawn(
    request: HttpRequest,
    access: Access,
    form: JobForm,
    choices: dict[str, QuerySet[Any]],
    source: Job | None,
) -> HttpResponse:
    """The estimate for what is filled in; after a change of the base model, also that model's settings."""
    values, base = form.values, form.values["base_model"]
    swap = base and base.uid != request.GET.get("settings_of")
    if swap:
        kept = {name: values[name] for name in KEPT}
        form = JobForm(None, **choices, settings=base.settings, initial=kept)
    context = {"source": source, "form": form, "swap": swap}
    if swap:
        values |= form.values | {name: values[name] for name in KEPT}
    context |= outlook.of(access.team, form, values, form.settings(), source) | exporting.outlook(base)
    return render(request, "jobs/redrawn.html", context)


def _launch(access: Access, form: JobForm, source: Job | None, replaced: Job | None) -> Job | None:
    """The launched job, which takes the place of ``replaced``; else the form holds what is wrong."""
    if not form.is_valid():
        return None
    data = form.cleaned_data
    try:
        with transaction.atomic():
            job = retention.launch_with_suites(
                access.team,
                access.user,
                name=data["name"],
                base_model=data["base_model"],
                tasks=task_forms.chosen(data),
                suites=suite_forms.chosen(data),
                start=data["start"],
                settings=form.settings(),
                cloned_from=source,
                held_out_grader=data["held_out_grader"],
            )
            if replaced:
                services.replace(replaced, access.user)
            return job
    except services.SettingsInvalid as error:
        form.add_setting_errors(error.errors)
        return None


# --- one job -------------------------------------------------------------------------------------


@member()
@require_GET
def detail(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The job's page; htmx asks for the part that something happened to."""
    job = access.get(all_jobs(), uid=uid)
    if query := beside.spelt_out(access.team, request.GET, "with"):
        return redirect(f"{job.get_absolute_url()}?{query}")
    last = job.events.order_by("-pk").values_list("pk", flat=True).first()
    evaluations = list(job.evaluations.all())
    drawn = beside.chosen(access.team, request.GET, "with")
    context = charts.drawn([job, *drawn], beside.baseline(drawn)) | {
        "job": job,
        "cursor": last or 0,
        "steps": phases.stepper(job),
        "strip": health.strip(job, evaluations),
        "position": services.queue_position(job),
        "waiting": presenters.waiting_for(job) if job.state == State.QUEUED else "",
        "evaluations": evaluations,
        "tasks": tasks.shares(job),
        "confidence": presenters.confidence(job),
        "checkpoints": job.checkpoints.all(),
        "field": "with",
        **beside.offered(access.team, drawn, request.GET, but=job),
        "usage": nodes.usage(job),
        "lines": reversed(log_views.lines_of(job)[:8]),
    }
    return render(request, PARTS.get(request.htmx.target, "jobs/detail.html"), context)  # type: ignore[attr-defined]


@member()
@require_GET
def metrics(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """The job's numbers as JSON, or as CSV with ``?format=csv``; ``name`` chooses, ``with`` adds jobs."""
    job = access.get(Job.objects.all(), uid=uid)
    if request.GET.get("format") != "csv":
        return JsonResponse(series(job, _weight(request.GET.get("smooth", ""))))
    jobs = [job, *beside.chosen(access.team, request.GET, "with")]
    lines = csv_lines(table(jobs, request.GET.getlist("name")))
    headers = {"Content-Disposition": f'attachment; filename="{job.uid}.csv"'}
    return StreamingHttpResponse(streamed(lines), content_type="text/csv", headers=headers)


def _weight(text: str) -> float:
    """How much a moving average keeps of what was before, 0 to 0.99; 0 for what is no number."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return min(weight, 0.99) if weight > 0 else 0.0


@member()
@require_GET
def config(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    job = access.get(all_jobs(), uid=uid)
    source = job.cloned_from
    context = {
        "job": job,
        "writings": written.writings(job),
        "source": source,
        "differences": presenters.differences(source.settings, job.settings) if source else [],
    }
    return render(request, "jobs/config.html", context)


Service = Callable[[Job, User], None]


def act(request: HttpRequest, access: Access, uid: str, service: Service, said: str) -> HttpResponse:
    """Does something to a job and goes back to its page, with a word on how it went."""
    job = access.get(all_jobs(), uid=uid)
    try:
        service(job, access.user)
    except services.WrongState as error:
        messages.error(request, str(error))
    else:
        messages.success(request, said)
    return redirect(job)


@member(Role.EDITOR)
@require_POST
def cancel(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.request_cancel, "Cancelled. Its checkpoints stay.")


@member(Role.EDITOR)
@require_POST
def pause(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.request_pause, "Pausing: a checkpoint is written first.")


@member(Role.EDITOR)
@require_POST
def resume(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.resume_job, "Queued; it goes on from its last checkpoint.")


@member(Role.EDITOR)
@require_POST
def rename(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    job = access.get(Job.objects.select_related("team"), uid=uid)
    try:
        services.rename(job, access.user, request.POST.get("name", ""))
    except ValueError as error:
        messages.error(request, str(error))
    return redirect(job)
