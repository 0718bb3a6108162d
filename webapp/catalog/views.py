"""Pages of models: what was tuned, its files, and the bases to start from."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from webapp.catalog import download_gate, history, lineage, listing, model_card
from webapp.core.http import HtmxRequest
from webapp.core.streaming import attachment, streamed
from webapp.datasets.versions.split_files import chunks
from webapp.registry import exporting, packages, services, uploads
from webapp.registry.forms import AdapterForm
from webapp.registry.models import BaseModel, TunedModel
from webapp.retention import gate
from webapp.retention.forms import ReleaseForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.teams.services import record
from workers.contract.adapter import AdapterInvalid


@member()
@require_GET
def model_list(request: HttpRequest, access: Access) -> HttpResponse:
    return render(request, "catalog/list.html", listing.build_context(access.team, request.GET))


@member()
@require_GET
def model(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """What made the model, what it measured, its files and how to use them."""
    shown = access.get(listing.models_with_history(), uid=uid)
    context = {
        "model": shown,
        "lineage": lineage.of(shown),
        "has_card": model_card.exists(shown) and not shown.deleted_at,
        "bytes": sum(file["bytes"] for file in shown.files),
        "folder": packages.folder_name(shown),
        "peft": packages.peft_code(shown),
        "vllm": packages.vllm_command(shown),
        **history.of(shown),
        **exporting.page(shown),
        "gate": gate.check_model(shown),
        "release_form": ReleaseForm(),
    }
    return render(request, "catalog/model.html", context)


@member()
@require_GET
def card(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """README.md of the package, readable."""
    shown = access.get(TunedModel.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    if not model_card.exists(shown):
        raise Http404(f"{shown} has no card.")
    text = model_card.text(shown)
    context = {"model": shown, "card": model_card.html(text), "text": text, "file": model_card.FILE}
    return render(request, "catalog/card.html", context)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def download(request: HttpRequest, access: Access, uid: str, name: str) -> HttpResponseBase:
    """One file of the package, as it lies in storage."""
    shown = access.get(TunedModel.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    file = next((file for file in shown.files if file["name"] == name), None)
    if file is None:
        raise Http404(f"{shown} has no file {name!r}.")
    if asked := download_gate.confirm_model_download(request, access, shown, f"{name} of {shown}"):
        return asked
    record(access.team, access.user, "downloaded file", f"{name} of {shown}")
    headers = attachment(name.rpartition("/")[2], file["bytes"])
    return StreamingHttpResponse(
        chunks(f"{shown.prefix}/{name}"), content_type="application/octet-stream", headers=headers
    )


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def archive(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """The whole package as one zip file."""
    shown = access.get(TunedModel.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    if asked := download_gate.confirm_model_download(request, access, shown):
        return asked
    record(access.team, access.user, "downloaded adapter", shown)
    zipped = packages.archive(shown)
    headers = attachment(f"{packages.folder_name(shown)}.zip", len(zipped))
    return StreamingHttpResponse(streamed(iter(zipped)), content_type="application/zip", headers=headers)


@member(Role.EDITOR)
@require_POST
def describe(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    shown = access.get(TunedModel.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    try:
        services.describe(shown, access.user, request.POST.get("description", ""))
    except ValueError as error:
        messages.error(request, str(error))
    return redirect(shown)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def upload(request: HtmxRequest, access: Access) -> HttpResponse:
    """Brings an adapter along. What is wrong with it is said beside the file."""
    known = BaseModel.objects.filter(Q(team=access.team) | Q(team=None))
    sent = (request.POST, request.FILES) if request.method == "POST" else ()
    form = AdapterForm(*sent, base_models=known)
    if form.is_bound and form.is_valid():
        try:
            kept = uploads.upload_adapter(access.team, access.user, **form.cleaned_data)
        except AdapterInvalid as error:
            form.add_error("archive", str(error))
        else:
            messages.success(request, f"Uploaded “{kept}”. A job can continue from it.")
            url = kept.get_absolute_url()
            return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
    # htmx shows no answer that says it failed.
    wrong = form.errors and not request.htmx
    return render(request, "catalog/upload.html", {"form": form}, status=422 if wrong else 200)
