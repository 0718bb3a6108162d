"""Views of plays: start one, watch it, make a move."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from webapp.core.http import HtmxRequest
from webapp.environments import presenters
from webapp.environments.findings import Move
from webapp.environments.forms import TaskForm
from webapp.environments.models import Environment, EnvironmentInspection, Play
from webapp.environments.plays import services as plays
from webapp.environments.plays.services import MoveRefused
from webapp.environments.plays.tool_forms import MessageForm, ToolForm, build_tool_forms
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.work import nodes


@member(Role.EDITOR)
@require_POST
def start(request: HtmxRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Start a play of the chosen task, by the person or by the oracle."""
    environment = access.get(Environment.objects.alive().select_related("team"), uid=uid)
    versions = environment.versions.select_related("environment__team", "inspection")
    version = get_object_or_404(versions, number=number)
    form = TaskForm(request.POST, version=version)
    if form.is_valid():
        split, task = form.cleaned_data["split"], form.cleaned_data["task"]
        oracle = "oracle" in request.POST
        return redirect(plays.start_play(version, access.user, split, task, by_oracle=oracle))
    context = {"environment": environment, "text": version.source}
    context |= presenters.build_context(version, form)
    return render(request, "environments/version.html", context, status=422)


@member()
@require_http_methods(["GET", "POST"])
def play(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show a play; a POST makes a move. htmx reloads it while a worker is at it."""
    related = ("team", "version__environment__team", "created_by")
    found = access.get(Play.objects.select_related(*related), uid=uid)
    if request.method != "POST":
        return _render(request, found)
    access.require(Role.EDITOR)
    tools, message = _build_forms(found, request)
    refusal = ""
    if move := _read_move(request, tools, message):
        try:
            plays.add_move(found, move)
        except MoveRefused as error:
            refusal = str(error)
        else:
            if not request.htmx:
                return redirect(found)
            found.refresh_from_db()
            tools, message = _build_forms(found)
    return _render(request, found, tools, message, refusal)


def _build_forms(found: Play, request: HtmxRequest | None = None) -> tuple[list[ToolForm], MessageForm]:
    inspection = EnvironmentInspection.objects.filter(version=found.version).first()
    offered = inspection.found.tools if inspection and inspection.found else []
    data = request.POST if request else None
    writes = data is not None and "message" in data
    return build_tool_forms(offered, data), MessageForm(data if writes else None)


def _read_move(request: HtmxRequest, tools: list[ToolForm], message: MessageForm) -> Move | None:
    """Return the valid move that was sent."""
    if message.is_bound:
        return {"message": message.cleaned_data["message"]} if message.is_valid() else None
    called = next((form for form in tools if form.is_bound), None)
    return called.read_move() if called and called.is_valid() else None


def _render(
    request: HtmxRequest, found: Play, tools: list[ToolForm] | None = None,
    message: MessageForm | None = None, refusal: str = "",
) -> HttpResponse:  # fmt: skip
    if tools is None or message is None:
        tools, message = _build_forms(found)
    context = {
        "play": found,
        "environment": found.version.environment,
        "messages_shown": plays.build_messages(found),
        "tool_forms": tools,
        "opened": next((move["tool"] for move in reversed(found.moves) if "tool" in move), None)
        or next((form.name for form in tools), ""),
        "message_form": message,
        "refusal": refusal,
        "worker_online": nodes.find_online().exists(),
    }
    invalid = refusal or message.errors or any(form.errors for form in tools)
    if request.htmx:
        return render(request, "environments/play.html#play", context)
    return render(request, "environments/play.html", context, status=422 if invalid else 200)
