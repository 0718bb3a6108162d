"""Views of graders: list, new, import, name, versions, checks. The bench has its own module."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.core.http import HtmxRequest
from webapp.core.versions import find_compared
from webapp.graders import bench, listing, services
from webapp.graders.definitions import parsing
from webapp.graders.forms import DescriptionForm, ImportForm, NewGraderForm
from webapp.graders.models import Grader
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
    """Create a grader from an example."""
    form = NewGraderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name, definition = form.cleaned_data["name"], KINDS[form.cleaned_data["kind"]].example
        return redirect(services.create_grader(access.team, access.user, name, definition))
    return render(request, "graders/new.html", {"form": form}, status=422 if form.errors else 200)


@member(Role.EDITOR)
def import_grader(request: HttpRequest, access: Access) -> HttpResponse:
    """Create a grader from OpenAI's JSON, pasted or uploaded; name the field that is wrong."""
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        parsed = form.cleaned_data["parsed"]
        return redirect(services.create_grader(access.team, access.user, form.grader_name(), parsed))
    return render(request, "graders/import.html", {"form": form}, status=422 if form.errors else 200)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def describe(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Change the grader's name and description."""
    grader = access.get(Grader.objects.alive().select_related("team"), uid=uid)
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
    """Show a version: its text, the changes since ``?with=`` or the version before, its check."""
    grader = access.get(Grader.objects.select_related("team"), uid=uid)
    versions = grader.versions.select_related("grader__team", "check_run", "created_by")
    selected = get_object_or_404(versions, number=number)
    others = list(grader.versions.exclude(pk=selected.pk))
    before = find_compared(others, selected, request.GET.get("with", ""))
    context = {
        "grader": grader,
        "others": others,
        "before": before,
        "text_before": bench.build_text(before) if before else "",
        "text": bench.build_text(selected),
    } | bench.build_check_context(selected)
    if request.htmx.target == "grader-versions":
        return render(
            request,
            "graders/versions.html",
            context | bench.build_versions_context(grader, bench.find_latest_version(grader)),
        )
    part = "check.html" if request.htmx else "version.html"
    return render(request, f"graders/{part}", context)


@member(Role.EDITOR)
@require_POST
def check(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Enqueue a check of a version, also a repeated one."""
    grader = access.get(Grader.objects.alive().select_related("team"), uid=uid)
    selected = get_object_or_404(grader.versions, number=number)
    request_check(selected)
    messages.success(request, f"Version {selected.number} is being checked.")
    return redirect(selected)


@member()
@require_GET
def export(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Download the definition as its author wrote it."""
    grader = access.get(Grader.objects.all(), uid=uid)
    selected = get_object_or_404(grader.versions, number=number)
    response = JsonResponse(selected.definition, json_dumps_params={"indent": 2, "ensure_ascii": False})
    response["Content-Disposition"] = f'attachment; filename="{grader.uid}-v{number}.json"'
    return response


@member()
@require_POST
def lint(request: HttpRequest, access: Access) -> JsonResponse:
    """Return the problems of a Python source or a definition, by line; the text is parsed, never run."""
    if "definition" in request.POST:
        return JsonResponse({"problems": parsing.find_problems(request.POST["definition"])})
    return JsonResponse({"problems": python_problems(request.POST.get("source", ""))})
