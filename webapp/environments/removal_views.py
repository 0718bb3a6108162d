"""Delete and restore environments; list the deleted ones."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from webapp.core import deletion
from webapp.environments import listing, services
from webapp.environments.models import Environment
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_GET
def deleted(request: HttpRequest, access: Access) -> HttpResponse:
    restorable = listing.list_restorable(access.team)
    return deletion.render_deleted(request, "environments/deleted.html", restorable)


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Hide the environment and show the list, with an undo button."""
    environment = access.get(Environment.objects.alive(), uid=uid)
    services.delete_environment(environment, access.user)
    return deletion.redirect_to_undo(reverse("environments:list", args=[access.team.slug]), [environment.uid])


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    environment = access.get(Environment.objects.deleted().select_related("team"), uid=uid)
    services.restore_environment(environment, access.user)
    messages.success(request, f"Restored “{environment.name}”.")
    return redirect(environment)
