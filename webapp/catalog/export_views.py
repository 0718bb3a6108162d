"""Views of a model's exports: their state, a request, the download."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.catalog import download_gate
from webapp.core.http import HtmxRequest
from webapp.core.streaming import build_attachment_headers, stream_lazily
from webapp.registry import exporting, packages
from webapp.registry.models import Export, TunedModel
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.teams.services import record_event
from workers.contract.exports import KINDS


def _find_model(access: Access, uid: str) -> TunedModel:
    return access.get(TunedModel.objects.alive().select_related("team", "base_model"), uid=uid)


@member()
@require_GET
def exports(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show the section of the model's page; htmx reloads it while an export is being made."""
    model = _find_model(access, uid)
    if not request.htmx:
        return redirect(f"{model.get_absolute_url()}#exports")
    return render(request, "catalog/exports.html", {"model": model} | exporting.build_context(model))


@member(Role.EDITOR)
@require_POST
def request_export(request: HttpRequest, access: Access, uid: str, kind: str) -> HttpResponse:
    """Enqueue an export."""
    model = _find_model(access, uid)
    if kind not in KINDS:
        raise Http404(f"There is no export of the kind {kind!r}.")
    try:
        exporting.request_export(model, access.user, kind)
    except exporting.ExportRefused as error:
        messages.error(request, str(error))
    return redirect("catalog:exports", access.team.slug, model.uid)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def download(request: HttpRequest, access: Access, uid: str, kind: str) -> HttpResponseBase:
    """Download a finished export as a zip file."""
    model = _find_model(access, uid)
    export = get_object_or_404(model.exports, kind=kind, state=Export.State.FINISHED)
    if page := download_gate.confirm_model_download(request, access, model, str(export)):
        return page
    record_event(access.team, access.user, "downloaded export", export)
    name = packages.export_folder(model, kind)
    archive = packages.zip_files(name, export.prefix, export.files)
    headers = build_attachment_headers(f"{name}.zip", len(archive))
    return StreamingHttpResponse(
        stream_lazily(iter(archive)), content_type="application/zip", headers=headers
    )
