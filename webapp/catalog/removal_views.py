"""Deleting a model, undoing it, and the deleted models."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.catalog import listing, removal
from webapp.registry.forms import PurgeForm
from webapp.registry.models import TunedModel
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_GET
def deleted(request: HttpRequest, access: Access) -> HttpResponse:
    """The team's deleted models, to restore."""
    return render(request, "catalog/deleted.html", listing.deleted(access.team, request.GET))


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Hides the model and shows the list, with a button that undoes it."""
    shown = access.get(TunedModel.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    try:
        removal.delete_model(shown, access.user)
    except removal.RemovalRefused as error:
        messages.error(request, str(error))
        return redirect(shown)
    return redirect(f"{reverse('catalog:list', args=[access.team.slug])}?deleted={shown.uid}")


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    shown = access.get(TunedModel.objects.exclude(deleted_at=None).select_related("team"), uid=uid)
    try:
        removal.restore_model(shown, access.user)
    except removal.RemovalRefused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Restored “{shown}”.")
    return redirect(shown)


@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def purge(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Asks an owner to type the model's id, then removes its files."""
    shown = access.get(TunedModel.objects.exclude(files=[]).select_related("team"), uid=uid)
    form = PurgeForm(request.POST if request.method == "POST" else None, uid=shown.uid)
    if form.is_bound and form.is_valid():
        try:
            removal.purge_model(shown, access.user)
        except removal.RemovalRefused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Deleted “{shown}” for good.")
            return redirect("catalog:deleted", access.team.slug)
    status = 422 if form.errors else 200
    context = {"bytes": sum(file["bytes"] for file in shown.files), "exports": shown.exports.count()}
    return render(request, "catalog/purge.html", context | {"model": shown, "form": form}, status=status)
