"""Pages of graders: list, new, import, name, versions, checks. The bench has its own module."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.core.http import HtmxRequest
from webapp.graders import bench, listing, services
from webapp.graders.definitions import parsing
from webapp.graders.forms import DescriptionForm, ImportForm, NewGraderForm
from webapp.graders.models import Grader, GraderVersion
from webapp.graders.queues import request_check
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from workers.grading import KINDS, python_problems


@member()
@require_GET
def grader_list(request: HtmxRequest, access: Access) -> HttpResponse:
    context = listing.build_context(access.team, request.GET)
    part = "#table" if request.htmx.target == "grader-table" else ""
    return render(request, f"graders/list.html{part}", context)


@member(Role.EDITOR)
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """Start from an example."""
    form = NewGraderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name, definition = form.cleaned_data["name"], KINDS[form.cleaned_data["kind"]].example
        return redirect(services.create_grader(access.team, access.user, name, definition))
    return render(request, "graders/new.html", {"form": form}, status=422 if form.errors else 200)


@member(Role.EDITOR)
def import_grader(request: HttpRequest, access: Access) -> HttpResponse:
    """Paste or upload OpenAI's grader JSON: a grader, or the field that is wrong."""
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        parsed = form.cleaned_data["parsed"]
        return redirect(services.create_grader(access.team, access.user, form.grader_name(), parsed))
    return render(request, "graders/import.html", {"form": form}, status=422 if form.errors else 200)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def describe(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The grader's name and description, to change."""
    grader = access.get(Grader.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    form = DescriptionForm(request.POST or None, instance=access.get(Grader.objects.all(), uid=uid))
    if request.method == "POST" and form.is_valid():
        services.describe_grader(grader, access.user, **form.cleaned_data)
        messages.success(request, f"Saved “{grader.name}”.")
        return redirect(grader)
    context = {"grader": grader, "form": form}
    return render(request, "graders/describe.html", context, status=422 if form.errors else 200)


@member()
@require_GET
def version(request: HtmxRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """One version: its text, how it differs from ``?with=`` or the one before, what its check found."""
    grader = access.get(Grader.objects.select_related("team"), uid=uid)
    versions = grader.versions.select_related("grader__team", "check_run", "created_by")
    shown = get_object_or_404(versions, number=number)
    others = list(grader.versions.exclude(pk=shown.pk))
    before = _other(others, shown, request.GET.get("with", ""))
    context = {
        "grader": grader,
        "others": others,
        "before": before,
        "text_before": bench.text_of(before) if before else "",
        "text": bench.text_of(shown),
    } | bench.check_context(shown)
    if request.htmx.target == "grader-versions":
        return render(
            request,
            "graders/versions.html",
            context | bench.versions_context(grader, bench.latest_of(grader)),
        )
    part = "check.html" if request.htmx else "version.html"
    return render(request, f"graders/{part}", context)


def _other(others: list[GraderVersion], shown: GraderVersion, number: str) -> GraderVersion | None:
    """The version to compare with: the one asked for, else the one before; ``none`` is neither."""
    if number == "none":
        return None
    asked = [other for other in others if str(other.number) == number]
    before = [other for other in others if other.number < shown.number]
    return next(iter(asked or before), None)


@member(Role.EDITOR)
@require_POST
def check(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Have a version checked, again if it was."""
    grader = access.get(Grader.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    shown = get_object_or_404(grader.versions, number=number)
    request_check(shown)
    messages.success(request, f"Version {shown.number} is being checked.")
    return redirect(shown)


@member()
@require_GET
def export(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """The definition as it was written."""
    grader = access.get(Grader.objects.all(), uid=uid)
    shown = get_object_or_404(grader.versions, number=number)
    response = JsonResponse(shown.definition, json_dumps_params={"indent": 2, "ensure_ascii": False})
    response["Content-Disposition"] = f'attachment; filename="{grader.uid}-v{number}.json"'
    return response


@member()
@require_POST
def lint(request: HttpRequest, access: Access) -> JsonResponse:
    """Problems of a Python source or a definition, by line; the text is read, never run."""
    if "definition" in request.POST:
        return JsonResponse({"problems": parsing.problems(request.POST["definition"])})
    return JsonResponse({"problems": python_problems(request.POST.get("source", ""))})
