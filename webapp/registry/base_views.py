"""The page of base models: what jobs may start from."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from webapp.teams.access import Access, member
from webapp.teams.models import Role

from . import services
from .forms import BaseModelForm
from .models import BaseModel


@member()
@require_http_methods(["GET", "POST"])
def bases(request: HttpRequest, access: Access) -> HttpResponse:
    """The models that jobs may start from. A POST adds one."""
    form = BaseModelForm(request.POST if request.method == "POST" else None, team=access.team)
    if request.method == "POST":
        access.require(Role.EDITOR)
        if form.is_valid():
            added = services.add_base_model(access.team, access.user, **form.cleaned_data)
            messages.success(request, f"Added {added}. It is fetched when the first job with it starts.")
            return redirect("registry:bases", access.team.slug)
    models = BaseModel.objects.filter(Q(team=access.team) | Q(team=None))
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "registry/bases.html", {"models": models, "form": form}, status=status)


@member(Role.EDITOR)
@require_POST
def remove(request: HttpRequest, access: Access, base: str) -> HttpResponse:
    """A model of the team's own that nothing was made from leaves the list."""
    found = access.get(BaseModel.objects.select_related("team"), uid=base)
    try:
        services.remove_base_model(found, access.user)
    except services.InUse as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Removed {found}. Files that workers fetched stay in their cache.")
    return redirect("registry:bases", access.team.slug)
