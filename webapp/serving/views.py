"""The page of serving: model servers and usage."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.core.http import HtmxRequest
from webapp.registry.services import list_base_models
from webapp.serving import presenters, servers
from webapp.serving.models import ModelServer
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_GET
def usage(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the model servers of the team's base models, and what its keys used."""
    live = request.htmx.target == "servers"
    context: dict[str, object] = {"servers": presenters.list_servers(access.team)}
    if not live:
        context |= presenters.build_usage_context(access.team, request.GET)
    return render(request, f"serving/usage.html{'#servers' if live else ''}", context)


@member(Role.EDITOR)
@require_POST
def stop(request: HtmxRequest, access: Access, base: str) -> HttpResponse:
    """Stop the server of a base model."""
    model = get_object_or_404(list_base_models(access.team), uid=base)
    server = get_object_or_404(ModelServer, base_model=model)
    if servers.stop_server(server, access.team, access.user):
        messages.success(request, f"{model} stops. The next request starts it again.")
    return redirect("serving:usage", access.team.slug)


@member(Role.EDITOR)
@require_POST
def warm(request: HtmxRequest, access: Access, base: str) -> HttpResponse:
    """Keep the server of a base model started (``warm=1``), or let it stop when it is idle."""
    model = get_object_or_404(list_base_models(access.team), uid=base)
    server, _ = ModelServer.objects.get_or_create(
        base_model=model, defaults={"state": ModelServer.State.FINISHED}
    )
    kept = request.POST.get("warm") == "1"
    servers.keep_warm(server, access.team, access.user, kept)
    messages.success(request, f"{model} is kept warm." if kept else f"{model} stops when it is idle.")
    return redirect("serving:usage", access.team.slug)
