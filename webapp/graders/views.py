"""Pages of graders: list, new, import, versions, checks. The bench has its own module."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count, Prefetch
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.teams.access import Access, member
from webapp.teams.models import Role
from workers.grading import python_problems

from . import bench, reading, services
from .checking import request_check
from .examples import EXAMPLES
from .forms import ImportForm, NewGraderForm
from .models import Grader, GraderVersion

NEWEST_VERSIONS = GraderVersion.objects.order_by("grader_id", "-number").distinct("grader_id")


@member()
@require_GET
def grader_list(request: HttpRequest, access: Access) -> HttpResponse:
    graders = (
        Grader.objects.filter(team=access.team, deleted_at=None)
        .annotate(jobs=Count("versions__jobs"))
        .select_related("team")
        .prefetch_related(Prefetch("versions", NEWEST_VERSIONS.select_related("check_run"), to_attr="newest"))
    )
    deleted = Grader.objects.filter(team=access.team).exclude(deleted_at=None)
    return render(request, "graders/list.html", {"graders": graders, "deleted": deleted})


@member(Role.EDITOR)
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """Start from an example."""
    form = NewGraderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name, definition = form.cleaned_data["name"], EXAMPLES[form.cleaned_data["kind"]]
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


@member()
@require_GET
def version(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    grader = access.get(Grader.objects.select_related("team"), uid=uid)
    shown = get_object_or_404(grader.versions.select_related("grader__team", "check_run"), number=number)
    before = grader.versions.filter(number__lt=number).first()
    context = {
        "grader": grader,
        "before": before,
        "text_before": _text(before) if before else "",
        "text": _text(shown),
    } | bench.check_context(shown)
    part = "check.html" if request.htmx else "version.html"  # type: ignore[attr-defined]
    return render(request, f"graders/{part}", context)


def _text(version: GraderVersion) -> str:
    return next(iter(bench.initial(version.definition).values()))


@member(Role.EDITOR)
@require_POST
def check(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Check a version again."""
    grader = access.get(Grader.objects.select_related("team"), uid=uid)
    shown = get_object_or_404(grader.versions, number=number)
    request_check(shown)
    messages.success(request, f"Version {shown.number} is being checked again.")
    return redirect(shown)


@member(Role.EDITOR)
@require_POST
def checking(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Change how versions are checked."""
    grader = access.get(Grader.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    form = bench.checking_form(access, grader, request.POST)
    if form.is_valid():
        services.set_checking(grader, access.user, **form.cleaned_data)
        messages.success(request, "Saved. The newest version is being checked again.")
    else:
        said = [f"{form[name].label}: {error}" for name, errors in form.errors.items() for error in errors]
        messages.error(request, " ".join(said))
    return redirect(bench.address(grader, request.GET))


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
        return JsonResponse({"problems": reading.problems(request.POST["definition"])})
    return JsonResponse({"problems": python_problems(request.POST.get("source", ""))})


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
