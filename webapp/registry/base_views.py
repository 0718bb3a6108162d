"""Views of base models."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.core.http import HtmxRequest
from webapp.registry import inspections, services
from webapp.registry.forms import BaseModelForm
from webapp.registry.models import BaseModel
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_http_methods(["GET", "POST"])
def bases(request: HttpRequest, access: Access) -> HttpResponse:
    """List the models that jobs can start from. A POST adds one."""
    form = BaseModelForm(request.POST if request.method == "POST" else None, team=access.team)
    if request.method == "POST":
        access.require(Role.EDITOR)
        if form.is_valid():
            added = services.add_base_model(access.team, access.user, **form.cleaned_data)
            messages.success(request, f"Added {added}. A worker is inspecting it.")
            return redirect("registry:base", access.team.slug, added.uid)
    shared = services.list_base_models(access.team)
    models = shared.select_related("inspection")
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "registry/bases.html", {"models": models, "form": form}, status=status)


@member()
@require_GET
def base_model(request: HtmxRequest, access: Access, base: str) -> HttpResponse:
    """Show the inspection of a base model; htmx reloads that section while it runs."""
    found = access.get(BaseModel.objects.select_related("team"), uid=base)
    part = "inspection" if request.htmx else "base_model"
    return render(request, f"registry/{part}.html", {"base": found} | inspections.build_context(found))


@member(Role.EDITOR)
@require_POST
def inspect_base(request: HttpRequest, access: Access, base: str) -> HttpResponse:
    """Enqueue a repeated inspection, after the files were corrected."""
    found = access.get(BaseModel.objects.select_related("team"), uid=base)
    inspections.request_again(found, access.user)
    return redirect("registry:base", access.team.slug, found.uid)


@member(Role.EDITOR)
@require_POST
def remove(request: HttpRequest, access: Access, base: str) -> HttpResponse:
    """Remove a base model of the team that nothing was made from."""
    found = access.get(BaseModel.objects.select_related("team"), uid=base)
    try:
        services.remove_base_model(found, access.user)
    except services.InUse as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Removed {found}. Files that workers fetched stay in their cache.")
    return redirect("registry:bases", access.team.slug)
