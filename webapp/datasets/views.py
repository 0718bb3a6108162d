"""Pages of datasets: list, upload, report, versions."""

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
from webapp.core.streaming import csv_lines, streamed
from webapp.datasets import listing, services
from webapp.datasets.forms import ImportForm, OptionsForm, UploadForm
from webapp.datasets.models import Dataset, Transfer, Upload
from webapp.datasets.uploads import column_mapping, row_progress
from webapp.datasets.versions.splits import COUNTED_PROMPTS, LEAST_HELD_OUT
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
def index(request: HttpRequest, access: Access) -> HttpResponse:
    """The team's datasets; the deleted ones on ``?deleted=1``."""
    return render(request, "datasets/list.html", listing.build_context(access.team, request.GET))


@member(Role.EDITOR)
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """Upload a file: a dataset of its own, or a version of the one that ``?dataset=`` names."""
    dataset = _target(request, access)
    form = UploadForm(request.POST or None, request.FILES or None).for_version_of(dataset)
    if form.is_valid():
        name = dataset.name if dataset else form.dataset_name()
        file = form.cleaned_data["file"]
        return redirect(services.receive(access.team, access.user, name, file, form.options(), dataset))
    status = 422 if form.is_bound else 200
    unfinished = Transfer.objects.filter(team=access.team, created_by=access.user).order_by("-touched_at")
    context = {
        "form": form, "dataset": dataset, "unfinished": unfinished,
        "import_form": ImportForm() if settings.DATASET_IMPORTS else None,
        "counted_prompts": COUNTED_PROMPTS, "least_held_out": LEAST_HELD_OUT,
    }  # fmt: skip
    return render(request, "datasets/new.html", context, status=status)


def _target(request: HttpRequest, access: Access) -> Dataset | None:
    uid = request.GET.get("dataset")
    return access.get(Dataset.objects.filter(deleted_at=None), uid=uid) if uid else None


@member()
def upload(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The report on an upload. POST commits it, or checks it again with other options."""
    trial = access.get(Upload.objects.select_related("dataset"), uid=uid)
    if request.method == "POST":
        return _decide(request, access, trial)
    return _report(request, trial, OptionsForm(initial=trial.options, table=trial.report.get("table", ())))


def _decide(request: HttpRequest, access: Access, trial: Upload) -> HttpResponse:
    access.require(Role.EDITOR)
    if "commit" in request.POST:
        return _commit(request, access, trial)
    form = OptionsForm(request.POST, table=trial.report.get("table", ()))
    if not form.is_valid():
        return _report(request, trial, form, status=422)
    try:
        services.check_again(trial, form.options())
    except services.CannotCommit as error:
        messages.error(request, str(error))
    return redirect(trial)


def _commit(request: HttpRequest, access: Access, trial: Upload) -> HttpResponse:
    choices = services.Choices(
        skip_bad="skip_bad" in request.POST, drop_overlap="drop_overlap" in request.POST
    )
    try:
        version, new = services.commit(trial, access.user, choices)
    except services.CannotCommit as error:
        messages.error(request, str(error))
        return redirect(trial)
    said = f"{version} is ready." if new else f"The same rows are already {version}; nothing was added."
    messages.success(request, said)
    return redirect(version)


def _report(request: HttpRequest, trial: Upload, form: OptionsForm, status: int = 200) -> HttpResponse:
    context = {"upload": trial, "report": trial.report, "form": form, "roles": column_mapping.ROLES}
    return render(request, "datasets/upload.html", context, status=status)


@member(Role.EDITOR)
def errors(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """All errors of an upload as CSV."""
    trial = access.get(Upload.objects.all(), uid=uid)
    rows = (
        (each.line, each.record, each.reason, each.fix, each.excerpt) for each in services.find_errors(trial)
    )
    lines = csv_lines(chain([("line", "record", "what is wrong", "what to do", "excerpt")], rows))
    response = StreamingHttpResponse(streamed(lines), content_type="text/csv; charset=utf-8")
    name = slugify(trial.filename.rsplit(".", 1)[0]) or "upload"
    response["Content-Disposition"] = f'attachment; filename="{name}-errors.csv"'
    return response


@member(Role.EDITOR)
@require_GET
def progress(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """How many rows are checked or written, in words, while a POST to the upload's page runs."""
    text = row_progress.read_progress(access.get(Upload.objects.all(), uid=uid))
    return HttpResponse(text, content_type="text/plain", headers={"Cache-Control": "no-store"})


@member(Role.EDITOR)
@require_POST
def discard(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Throw an upload away."""
    services.discard_upload(access.get(Upload.objects.all(), uid=uid), access.user)
    messages.success(request, "The upload was discarded.")
    return redirect("datasets:list", access.team.slug)


@member()
def detail(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """A dataset and its versions."""
    dataset = access.get(Dataset.objects.select_related("created_by"), uid=uid)
    versions = dataset.versions.select_related("created_by").defer("report")
    return render(request, "datasets/detail.html", {"dataset": dataset, "versions": versions})


@member(Role.EDITOR)
@require_POST
def rename(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Give a dataset another name."""
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
    """Show a deleted dataset again."""
    dataset = access.get(Dataset.objects.all(), uid=uid)
    services.restore_dataset(dataset, access.user)
    messages.success(request, f"Restored “{dataset.name}”.")
    return redirect(dataset)
