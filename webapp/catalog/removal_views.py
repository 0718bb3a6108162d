"""Delete and restore models, list the deleted ones, and delete their files for good."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.catalog import listing, removal
from webapp.core import deletion
from webapp.registry.forms import PurgeForm
from webapp.registry.models import TunedModel
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_GET
def deleted(request: HttpRequest, access: Access) -> HttpResponse:
    return deletion.render_deleted(request, "catalog/deleted.html", listing.list_restorable(access.team))


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Hide the model and show the list, with an undo button."""
    model = access.get(TunedModel.objects.alive().select_related("team"), uid=uid)
    try:
        removal.delete_model(model, access.user)
    except deletion.RemovalRefused as error:
        messages.error(request, str(error))
        return redirect(model)
    return deletion.redirect_to_undo(reverse("catalog:list", args=[access.team.slug]), [model.uid])


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    model = access.get(TunedModel.objects.deleted().select_related("team"), uid=uid)
    try:
        removal.restore_model(model, access.user)
    except deletion.RemovalRefused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Restored “{model}”.")
    return redirect(model)


@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def purge(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Ask an owner to type the model's id, then remove its files."""
    model = access.get(TunedModel.objects.exclude(files=[]).select_related("team"), uid=uid)
    form = PurgeForm(request.POST if request.method == "POST" else None, uid=model.uid)
    if form.is_bound and form.is_valid():
        try:
            removal.purge_model(model, access.user)
        except deletion.RemovalRefused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Deleted “{model}” for good.")
            return redirect("catalog:deleted", access.team.slug)
    context = {
        "model": model,
        "form": form,
        "bytes": sum(file["bytes"] for file in model.files),
        "exports": model.exports.count(),
    }
    return render(request, "catalog/purge.html", context, status=422 if form.errors else 200)
