"""Delete and restore graders; list the deleted ones."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from webapp.core import deletion
from webapp.graders import listing, services
from webapp.graders.models import Grader
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_GET
def deleted(request: HttpRequest, access: Access) -> HttpResponse:
    return deletion.render_deleted(request, "graders/deleted.html", listing.list_restorable(access.team))


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Hide the grader and show the list, with an undo button."""
    grader = access.get(Grader.objects.alive(), uid=uid)
    services.delete_grader(grader, access.user)
    return deletion.redirect_to_undo(reverse("graders:list", args=[access.team.slug]), [grader.uid])


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    grader = access.get(Grader.objects.deleted().select_related("team"), uid=uid)
    services.restore_grader(grader, access.user)
    messages.success(request, f"Restored “{grader.name}”.")
    return redirect(grader)
