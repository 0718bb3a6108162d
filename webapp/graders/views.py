"""Pages of graders."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.datasets.models import DatasetVersion
from webapp.jobs import nodes
from webapp.registry.models import BaseModel
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from workers.grading import python_problems

from . import services
from .forms import DefinitionForm, NewGraderForm, TrialForm
from .models import Grader, GraderTrial, GraderVersion


def _versions(access: Access) -> QuerySet[DatasetVersion]:
    return (
        DatasetVersion.objects.filter(dataset__team=access.team, dataset__deleted_at=None)
        .select_related("dataset")
        .order_by("-id")
    )


def _base_models(access: Access) -> QuerySet[BaseModel]:
    return BaseModel.objects.filter(Q(team=access.team) | Q(team=None))


def _trial_form(access: Access, data: Any = None) -> TrialForm:
    return TrialForm(data, versions=_versions(access), base_models=_base_models(access))


@member()
@require_GET
def grader_list(request: HttpRequest, access: Access) -> HttpResponse:
    graders = (
        Grader.objects.filter(team=access.team, deleted_at=None)
        .annotate(jobs=Count("versions__jobs"))
        .prefetch_related("versions")
    )
    deleted = Grader.objects.filter(team=access.team).exclude(deleted_at=None)
    return render(request, "graders/list.html", {"graders": graders, "deleted": deleted})


@member(Role.EDITOR)
def new(request: HttpRequest, access: Access) -> HttpResponse:
    form = NewGraderForm(request.POST or None, initial={"kind": "python"})
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        return redirect(services.create_grader(access.team, access.user, data["name"], data["parsed"]))
    return render(request, "graders/new.html", {"form": form}, status=422 if form.errors else 200)


@member()
def detail(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The bench: source on one side, rows to try it on on the other. A POST saves a version."""
    grader = access.get(Grader.objects.all(), uid=uid)
    latest = grader.versions.first()
    assert latest is not None
    form = DefinitionForm(request.POST or None, initial=_initial(latest))
    if request.method == "POST" and (response := _save(request, access, grader, form)):
        return response
    context = {
        "grader": grader,
        "latest": latest,
        "form": form,
        "trial_form": _trial_form(access),
        "worker_online": nodes.online().exists(),
    }
    return render(request, "graders/detail.html", context, status=422 if form.errors else 200)


def _initial(version: GraderVersion) -> dict[str, str]:
    if version.definition["type"] == "python":
        return {"source": version.definition["source"]}
    return {"definition": json.dumps(version.definition, indent=2, ensure_ascii=False)}


def _save(request: HttpRequest, access: Access, grader: Grader, form: DefinitionForm) -> HttpResponse | None:
    access.require(Role.EDITOR)
    if not form.is_valid():
        return None
    version, is_new = services.add_version(grader, access.user, form.cleaned_data["parsed"])
    said = (
        f"Saved as version {version.number}."
        if is_new
        else f"Nothing changed since version {version.number}."
    )
    messages.success(request, said)
    return redirect(grader)


@member()
@require_GET
def version(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    grader = access.get(Grader.objects.all(), uid=uid)
    shown = get_object_or_404(grader.versions, number=number)
    before = grader.versions.filter(number__lt=number).first()
    texts = [_text(one) if one else "" for one in (before, shown)]
    context = {
        "grader": grader,
        "version": shown,
        "before": before,
        "text_before": texts[0],
        "text": texts[1],
    }
    return render(request, "graders/version.html", context)


def _text(version: GraderVersion) -> str:
    return next(iter(_initial(version).values()))


@member()
@require_GET
def export(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    grader = access.get(Grader.objects.all(), uid=uid)
    shown = get_object_or_404(grader.versions, number=number)
    response = JsonResponse(shown.definition, json_dumps_params={"indent": 2, "ensure_ascii": False})
    response["Content-Disposition"] = f'attachment; filename="{grader.uid}-v{number}.json"'
    return response


@member()
@require_POST
def lint(request: HttpRequest, access: Access) -> JsonResponse:
    """Problems of a Python source, by line; the source is read, never run."""
    return JsonResponse({"problems": python_problems(request.POST.get("source", ""))})


@member(Role.EDITOR)
@require_POST
def try_grader(request: HttpRequest, access: Access) -> HttpResponse:
    """Have a worker grade rows with the text as it stands in the editor."""
    form = _trial_form(access, request.POST)
    if not form.is_valid():
        return render(request, "graders/detail.html#trial_errors", {"trial_form": form})
    data = form.cleaned_data
    rows = [_with_answer(row, data) for row in services.sample_rows(data["version"], data["count"])]
    base_model = data["base_model"] if data["answers"] == "base_model" else None
    made = services.create_trial(access.team, access.user, data["parsed"], rows, base_model)
    return redirect("graders:trial", access.team.slug, made.uid)


def _with_answer(row: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    if data["answers"] == "typed":
        return row | {"answer": data["answer"]}
    if data["answers"] == "field":
        value = row["item"].get(data["field"], "")
        return row | {"answer": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
    return row


@member()
@require_GET
def trial(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """A trial's results; htmx asks again while it runs."""
    shown = access.get(GraderTrial.objects.all(), uid=uid)
    prompts = {row["row_id"]: row["messages"][-1]["content"] for row in shown.rows}
    results = [result | {"prompt": prompts.get(result["row_id"], "")} for result in shown.results]
    scored = [result["reward"] for result in results if result["reward"] is not None]
    context = {
        "trial": shown,
        "results": results,
        "mean": sum(scored) / len(scored) if scored else None,
        "failed": len(results) - len(scored),
        "pending": shown.state in {GraderTrial.State.QUEUED, GraderTrial.State.RUNNING},
        "worker_online": nodes.online().exists(),
    }
    return render(request, "graders/trial.html" + ("#results" if request.htmx else ""), context)  # type: ignore[attr-defined]


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    grader = access.get(Grader.objects.filter(deleted_at=None), uid=uid)
    services.delete_grader(grader, access.user)
    messages.success(request, f"Deleted “{grader.name}”. Jobs that use it go on. You can restore it below.")
    return redirect("graders:list", access.team.slug)


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    grader = access.get(Grader.objects.exclude(deleted_at=None), uid=uid)
    services.restore_grader(grader, access.user)
    messages.success(request, f"Restored “{grader.name}”.")
    return redirect(grader)
