"""Views of tuned models: the list, a model's page, its files, uploads."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from webapp.catalog import download_gate, history, lineage, listing, model_card
from webapp.core.http import HtmxRequest
from webapp.core.streaming import build_attachment_headers, stream_lazily
from webapp.datasets.versions.split_files import stream_chunks
from webapp.registry import exporting, packages, services, uploads
from webapp.registry.forms import AdapterForm
from webapp.registry.models import TunedModel
from webapp.retention import gate
from webapp.retention.forms import ReleaseForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.teams.services import record_event
from workers.contract.adapter import AdapterInvalid


@member()
@require_GET
def model_list(request: HttpRequest, access: Access) -> HttpResponse:
    return render(request, "catalog/list.html", listing.build_context(access.team, request.GET))


@member()
@require_GET
def model(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show the model's lineage, measurements, files and how to use them."""
    tuned_model = access.get(listing.models_with_history(), uid=uid)
    context = {
        "model": tuned_model,
        "lineage": lineage.build_lineage(tuned_model),
        "has_card": model_card.has_card(tuned_model) and not tuned_model.deleted_at,
        "bytes": sum(file["bytes"] for file in tuned_model.files),
        "folder": packages.folder_name(tuned_model),
        "peft": packages.peft_code(tuned_model),
        "vllm": packages.vllm_command(tuned_model),
        **history.build_context(tuned_model),
        **exporting.build_context(tuned_model),
        "gate": gate.check_model(tuned_model),
        "release_form": ReleaseForm(),
    }
    return render(request, "catalog/model.html", context)


@member()
@require_GET
def card(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show the README.md of the package."""
    tuned_model = access.get(TunedModel.objects.alive().select_related("team"), uid=uid)
    if not model_card.has_card(tuned_model):
        raise Http404(f"{tuned_model} has no card.")
    text = model_card.read_card(tuned_model)
    context = {
        "model": tuned_model,
        "card": model_card.render_card(text),
        "text": text,
        "file": model_card.FILE,
    }
    return render(request, "catalog/card.html", context)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def download(request: HttpRequest, access: Access, uid: str, name: str) -> HttpResponseBase:
    """Download one file of the package."""
    tuned_model = access.get(TunedModel.objects.alive().select_related("team"), uid=uid)
    file = next((file for file in tuned_model.files if file["name"] == name), None)
    if file is None:
        raise Http404(f"{tuned_model} has no file {name!r}.")
    if page := download_gate.confirm_model_download(request, access, tuned_model, f"{name} of {tuned_model}"):
        return page
    record_event(access.team, access.user, "downloaded file", f"{name} of {tuned_model}")
    headers = build_attachment_headers(name.rpartition("/")[2], file["bytes"])
    return StreamingHttpResponse(
        stream_chunks(f"{tuned_model.prefix}/{name}"),
        content_type="application/octet-stream",
        headers=headers,
    )


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def archive(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """Download the whole package as a zip file."""
    tuned_model = access.get(TunedModel.objects.alive().select_related("team"), uid=uid)
    if page := download_gate.confirm_model_download(request, access, tuned_model):
        return page
    record_event(access.team, access.user, "downloaded adapter", tuned_model)
    zipped = packages.archive(tuned_model)
    headers = build_attachment_headers(f"{packages.folder_name(tuned_model)}.zip", len(zipped))
    return StreamingHttpResponse(stream_lazily(iter(zipped)), content_type="application/zip", headers=headers)


@member(Role.EDITOR)
@require_POST
def describe(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    tuned_model = access.get(TunedModel.objects.alive().select_related("team"), uid=uid)
    try:
        services.describe_model(tuned_model, access.user, request.POST.get("description", ""))
    except ValueError as error:
        messages.error(request, str(error))
    return redirect(tuned_model)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def upload(request: HtmxRequest, access: Access) -> HttpResponse:
    """Upload an adapter; errors are shown next to the file field."""
    bases = services.list_base_models(access.team)
    data = (request.POST, request.FILES) if request.method == "POST" else ()
    form = AdapterForm(*data, base_models=bases)
    if form.is_bound and form.is_valid():
        try:
            uploaded = uploads.upload_adapter(access.team, access.user, **form.cleaned_data)
        except AdapterInvalid as error:
            form.add_error("archive", str(error))
        else:
            messages.success(request, f"Uploaded “{uploaded}”. A job can continue from it.")
            url = uploaded.get_absolute_url()
            return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
    # htmx swaps in responses with status 200 only.
    status = 422 if form.errors and not request.htmx else 200
    return render(request, "catalog/upload.html", {"form": form}, status=status)
