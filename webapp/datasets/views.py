"""Views of datasets: list, uploads with their reports, one dataset."""

from __future__ import annotations

from itertools import chain

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.http import require_GET, require_POST

from webapp.core.deletion import redirect_to_undo
from webapp.core.streaming import format_csv, stream_lazily
from webapp.datasets import listing, services
from webapp.datasets.forms import ImportForm, OptionsForm, UploadForm
from webapp.datasets.models import Dataset, Transfer, Upload
from webapp.datasets.uploads import column_mapping, row_progress
from webapp.datasets.uploads import services as upload_services
from webapp.datasets.versions.splits import COUNTED_PROMPTS, LEAST_HELD_OUT
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
def index(request: HttpRequest, access: Access) -> HttpResponse:
    """List the team's datasets; with ``?deleted=1`` the deleted ones."""
    return render(request, "datasets/list.html", listing.build_context(access.team, request.GET))


@member(Role.EDITOR)
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """Upload a file as a new dataset, or as a version of the one in ``?dataset=``."""
    dataset = services.get_target(access, request.GET.get("dataset"))
    form = UploadForm(request.POST or None, request.FILES or None).without_name_for(dataset)
    if form.is_valid():
        name = dataset.name if dataset else form.get_dataset_name()
        file = form.cleaned_data["file"]
        return redirect(
            upload_services.receive_file(access.team, access.user, name, file, form.build_options(), dataset)
        )
    status = 422 if form.is_bound else 200
    unfinished = Transfer.objects.filter(team=access.team, created_by=access.user).order_by("-touched_at")
    context = {
        "form": form, "dataset": dataset, "unfinished": unfinished,
        "import_form": ImportForm() if settings.DATASET_IMPORTS else None,
        "counted_prompts": COUNTED_PROMPTS, "least_held_out": LEAST_HELD_OUT,
    }  # fmt: skip
    return render(request, "datasets/new.html", context, status=status)


@member()
def show_upload(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show the report on an upload. POST commits it, or checks it again with other options."""
    upload = access.get(Upload.objects.select_related("dataset"), uid=uid)
    if request.method == "POST":
        return _apply_decision(request, access, upload)
    return _render_report(
        request, upload, OptionsForm(initial=upload.options, table=upload.report.get("table", ()))
    )


def _apply_decision(request: HttpRequest, access: Access, upload: Upload) -> HttpResponse:
    access.require(Role.EDITOR)
    if "commit" in request.POST:
        return _commit_upload(request, access, upload)
    form = OptionsForm(request.POST, table=upload.report.get("table", ()))
    if not form.is_valid():
        return _render_report(request, upload, form, status=422)
    try:
        upload_services.recheck_upload(upload, form.build_options())
    except upload_services.CannotCommit as error:
        messages.error(request, str(error))
    return redirect(upload)


def _commit_upload(request: HttpRequest, access: Access, upload: Upload) -> HttpResponse:
    choices = upload_services.Choices(
        skip_bad="skip_bad" in request.POST, drop_overlap="drop_overlap" in request.POST
    )
    try:
        version, new = upload_services.commit_upload(upload, access.user, choices)
    except upload_services.CannotCommit as error:
        messages.error(request, str(error))
        return redirect(upload)
    text = f"{version} is ready." if new else f"{version} already has the same rows, so nothing was added."
    messages.success(request, text)
    return redirect(version)


def _render_report(
    request: HttpRequest, upload: Upload, form: OptionsForm, status: int = 200
) -> HttpResponse:
    context = {"upload": upload, "report": upload.report, "form": form, "roles": column_mapping.ROLES}
    return render(request, "datasets/upload.html", context, status=status)


@member(Role.EDITOR)
def errors(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """Download all errors of an upload as CSV."""
    upload = access.get(Upload.objects.all(), uid=uid)
    rows = (
        (each.line, each.record, each.reason, each.remedy, each.excerpt)
        for each in upload_services.find_errors(upload)
    )
    lines = format_csv(chain([("line", "record", "what is wrong", "what to do", "excerpt")], rows))
    response = StreamingHttpResponse(stream_lazily(lines), content_type="text/csv; charset=utf-8")
    name = slugify(upload.filename.rsplit(".", 1)[0]) or "upload"
    response["Content-Disposition"] = f'attachment; filename="{name}-errors.csv"'
    return response


@member(Role.EDITOR)
@require_GET
def progress(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Return the progress as text while a POST to the upload's page runs."""
    text = row_progress.read_progress(access.get(Upload.objects.all(), uid=uid))
    return HttpResponse(text, content_type="text/plain", headers={"Cache-Control": "no-store"})


@member(Role.EDITOR)
@require_POST
def discard(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Discard an upload."""
    upload_services.discard_upload(access.get(Upload.objects.all(), uid=uid), access.user)
    messages.success(request, "The upload was discarded.")
    return redirect("datasets:list", access.team.slug)


@member()
def detail(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show a dataset and its versions."""
    dataset = access.get(Dataset.objects.select_related("created_by"), uid=uid)
    versions = dataset.versions.select_related("created_by").defer("report")
    return render(request, "datasets/detail.html", {"dataset": dataset, "versions": versions})


@member(Role.EDITOR)
@require_POST
def rename(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Rename a dataset."""
    dataset = access.get(Dataset.objects.select_related("team"), uid=uid)
    try:
        services.rename_dataset(dataset, access.user, request.POST.get("name", ""))
    except ValueError as error:
        messages.error(request, str(error))
    return redirect(dataset)


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Hide a dataset; its files stay."""
    dataset = access.get(Dataset.objects.all(), uid=uid)
    services.delete_dataset(dataset, access.user)
    return redirect_to_undo(reverse("datasets:list", args=[access.team.slug]), [dataset.uid])


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Restore a deleted dataset."""
    dataset = access.get(Dataset.objects.all(), uid=uid)
    services.restore_dataset(dataset, access.user)
    messages.success(request, f"{dataset.name} was restored.")
    return redirect(dataset)
