"""Views of imports: start, progress, cancel."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from webapp.core.http import HtmxRequest
from webapp.datasets.forms import ImportForm
from webapp.datasets.models import DatasetImport
from webapp.datasets.services import get_target
from webapp.datasets.uploads import imports, row_progress
from webapp.datasets.uploads.validation import Options
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member(Role.EDITOR)
@require_POST
def create(request: HttpRequest, access: Access) -> HttpResponse:
    """Start an import. Errors of the form appear on the upload page."""
    form, dataset = ImportForm(request.POST), get_target(access, request.GET.get("dataset"))
    if form.is_valid():
        name, source = dataset.name if dataset else "", form.cleaned_data["source"]
        try:
            return redirect(
                imports.request_import(
                    access.team, access.user, source=source, name=name, options=Options(), dataset=dataset
                )
            )
        except imports.ImportRefused as error:
            messages.error(request, str(error))
    for text in form.errors.get("source", ()):
        messages.error(request, str(text))
    response = redirect("datasets:new", access.team.slug)
    response["Location"] += f"?dataset={dataset.uid}" if dataset else ""
    return response


@member()
def show(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show the progress of an import; redirect to its upload when it is done."""
    found = access.get(DatasetImport.objects.select_related("upload", "dataset"), uid=uid)
    if found.upload:
        if request.htmx:
            return HttpResponse(headers={"HX-Redirect": found.upload.get_absolute_url()})
        return redirect(found.upload)
    context = {"import": found, "dataset": found.dataset, "progress": row_progress.read_progress(found)}
    return render(request, "datasets/import.html", context)


@member(Role.EDITOR)
@require_POST
def cancel(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Cancel an import."""
    found = access.get(DatasetImport.objects.all(), uid=uid)
    imports.cancel_import(found, access.user)
    return redirect(found)
