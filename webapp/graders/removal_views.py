"""Deleting a grader, undoing it, and the deleted graders."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from webapp.graders import listing, services
from webapp.graders.models import Grader
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_GET
def deleted(request: HttpRequest, access: Access) -> HttpResponse:
    """The team's deleted graders, to restore."""
    return render(request, "graders/deleted.html", listing.deleted(access.team, request.GET))


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Hides the grader and shows the list, with a button that undoes it."""
    grader = access.get(Grader.objects.filter(deleted_at=None), uid=uid)
    services.delete_grader(grader, access.user)
    return redirect(f"{reverse('graders:list', args=[access.team.slug])}?deleted={grader.uid}")


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    grader = access.get(Grader.objects.exclude(deleted_at=None).select_related("team"), uid=uid)
    services.restore_grader(grader, access.user)
    messages.success(request, f"Restored “{grader.name}”.")
    return redirect(grader)
