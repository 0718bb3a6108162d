"""Views of environments: list, new, editor, name, versions, checks, datasets of tasks."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.core.http import HtmxRequest
from webapp.core.input_checks import parse_whole_number
from webapp.core.versions import find_compared
from webapp.environments import listing, presenters, services
from webapp.environments.forms import DescriptionForm, NewEnvironmentForm, SourceForm, TaskDatasetForm
from webapp.environments.models import Environment, EnvironmentVersion
from webapp.environments.queues import request_inspection
from webapp.environments.servers import views as server_views
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from workers.environments import find_problems


@member()
@require_GET
def environment_list(request: HtmxRequest, access: Access) -> HttpResponse:
    context = listing.build_context(access.team, request.GET)
    part = "#table" if request.htmx.target == "environment-table" else ""
    return render(request, f"environments/list.html{part}", context)


@member(Role.EDITOR)
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """Create an environment from an example."""
    form = NewEnvironmentForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name = form.cleaned_data["name"]
        return redirect(services.create_environment(access.team, access.user, name, form.source))
    return render(request, "environments/new.html", {"form": form}, status=422 if form.errors else 200)


@member()
@require_http_methods(["GET", "POST"])
def detail(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show the editor, tools, tasks and checks. A POST saves a version."""
    environment = access.get(Environment.objects.select_related("team"), uid=uid)
    if presenters.find_latest(environment).at_server:
        return server_views.show_server(request, access, environment)
    if request.method == "POST":
        access.require(Role.EDITOR)
        return _save(request, access, environment)
    return _render_editor(request, environment)


def _save(request: HttpRequest, access: Access, environment: Environment) -> HttpResponse:
    form = SourceForm(request.POST, environment=environment)
    if not form.is_valid():
        return _render_editor(request, environment, form)
    data = form.cleaned_data
    version, is_new = services.add_version(environment, access.user, data["source"], data["note"])
    result = "Saved as version" if is_new else "Nothing changed since version"
    messages.success(request, f"{result} {version.number}.")
    return redirect(environment)


def _render_editor(
    request: HttpRequest, environment: Environment, form: SourceForm | None = None
) -> HttpResponse:
    latest = presenters.find_latest(environment)
    start = _find_edited(environment, request.POST if form else request.GET) or latest
    context: dict[str, object] = {
        "environment": environment,
        "start": start,
        "unsaved": start != latest or form is not None,
        "form": form or SourceForm(environment=environment, initial={"source": start.source}),
    }
    context |= presenters.build_context(latest) | presenters.build_versions_context(environment, latest)
    invalid = bool(form and form.errors)
    return render(request, "environments/detail.html", context, status=422 if invalid else 200)


def _find_edited(environment: Environment, query: Mapping[str, str]) -> EnvironmentVersion | None:
    """Return the version that ``?from=`` names."""
    number = parse_whole_number(query.get("from"))
    return None if number is None else get_object_or_404(environment.versions, number=number)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def describe(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Change the environment's name and description."""
    environment = access.get(Environment.objects.alive().select_related("team"), uid=uid)
    form = DescriptionForm(request.POST or None, instance=access.get(Environment.objects.all(), uid=uid))
    if request.method == "POST" and form.is_valid():
        services.describe_environment(environment, access.user, **form.cleaned_data)
        messages.success(request, f"Saved “{environment.name}”.")
        return redirect(environment)
    context = {"environment": environment, "form": form}
    return render(request, "environments/describe.html", context, status=422 if form.errors else 200)


@member()
@require_GET
def version(request: HtmxRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Show a version: its source, the changes since ``?with=`` or the version before, its inspection."""
    environment = access.get(Environment.objects.select_related("team"), uid=uid)
    versions = environment.versions.select_related("environment__team", "inspection", "created_by")
    selected = get_object_or_404(versions, number=number)
    context = {"environment": environment} | presenters.build_context(selected)
    if request.htmx:
        return render(request, "environments/inspection.html", context)
    others = list(environment.versions.exclude(pk=selected.pk))
    before = find_compared(others, selected, request.GET.get("with", ""))
    context |= {
        "others": others,
        "before": before,
        "text_before": before.source if before else "",
        "text": selected.source,
    }
    return render(request, "environments/version.html", context)


@member(Role.EDITOR)
@require_POST
def inspect(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Enqueue an inspection of a version, also a repeated one."""
    selected = _find_version(access, uid, number)
    request_inspection(selected)
    messages.success(request, f"Version {selected.number} is being checked.")
    return redirect(selected)


@member(Role.EDITOR)
@require_POST
def make_dataset(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Let a worker make a dataset version of the version's tasks."""
    selected, form = _find_version(access, uid, number), TaskDatasetForm(request.POST)
    if form.is_valid():
        services.request_task_dataset(selected, access.user, form.cleaned_data["most"])
        messages.success(request, "The dataset is being created.")
    else:
        messages.error(request, f"Tasks of each split: {form.errors['most'][0]}")
    return redirect(selected)


def _find_version(access: Access, uid: str, number: int) -> EnvironmentVersion:
    """Return a version of an environment that is not deleted. Raises ``Http404``."""
    environment = access.get(Environment.objects.alive(), uid=uid)
    return get_object_or_404(environment.versions.select_related("environment__team"), number=number)


@member()
@require_POST
def lint(request: HttpRequest, access: Access) -> JsonResponse:
    """Return the problems of a source, by line; it is parsed, never run."""
    return JsonResponse({"problems": find_problems(request.POST.get("source", ""))})
