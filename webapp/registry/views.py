"""Pages of models: what was tuned, its files, and the bases to start from."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.config.streaming import streamed
from webapp.datasets.contents import chunks
from webapp.evaluations.models import Evaluation
from webapp.retention import gate
from webapp.retention.forms import ReleaseForm
from webapp.retention.models import SuiteScore
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.teams.services import record
from workers.adapter import AdapterInvalid

from . import exporting, packages, services, uploads
from .forms import AdapterForm, BaseModelForm
from .models import BaseModel, TunedModel

MODELS = 50


def _models() -> QuerySet[TunedModel]:
    """Models with what made them and, as ``job.evaluations``, what was measured after training."""
    after = Evaluation.objects.filter(stage="after", tuned__isnull=False, task="")
    return TunedModel.objects.select_related(
        "team", "base_model", "job__team", "job__start__team",
        "job__dataset_version__dataset__team", "job__grader_version__grader__team", "release__released_by",
    ).prefetch_related(
        Prefetch("job__evaluations", after),
        "job__suites",
        Prefetch("job__suite_scores", SuiteScore.objects.filter(stage="after")),
    )  # fmt: skip


@member()
@require_GET
def model_list(request: HttpRequest, access: Access) -> HttpResponse:
    """The team's models, the newest first; the deleted ones below, to restore."""
    models = _models().filter(team=access.team)
    page = Paginator(models.filter(deleted_at=None), MODELS).get_page(request.GET.get("page"))
    deleted = models.exclude(deleted_at=None).order_by("-deleted_at")[:MODELS]
    context = {"models": gate.marked(page), "page": page, "deleted": deleted}
    return render(request, "registry/list.html", context)


@member()
@require_GET
def model(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """What made the model, what it measured, its files and how to use them."""
    shown = access.get(_models(), uid=uid)
    context = {
        "model": shown,
        "bytes": sum(file["bytes"] for file in shown.files),
        "folder": packages.folder_name(shown),
        "peft": packages.peft_code(shown),
        "vllm": packages.vllm_command(shown),
        **exporting.page(shown),
        "gate": gate.of(shown),
        "release_form": ReleaseForm(),
    }
    return render(request, "registry/model.html", context)


@member(Role.EDITOR)
@require_GET
def download(request: HttpRequest, access: Access, uid: str, name: str) -> HttpResponseBase:
    """One file of the package, as it lies in storage."""
    shown = access.get(TunedModel.objects.filter(deleted_at=None), uid=uid)
    file = next((file for file in shown.files if file["name"] == name), None)
    if file is None:
        raise Http404(f"{shown} has no file {name!r}.")
    record(access.team, access.user, "downloaded file", f"{name} of {shown}")
    headers = attachment(name.rpartition("/")[2], file["bytes"])
    return StreamingHttpResponse(
        chunks(f"{shown.prefix}/{name}"), content_type="application/octet-stream", headers=headers
    )


@member(Role.EDITOR)
@require_GET
def archive(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """The whole package as one zip file."""
    shown = access.get(TunedModel.objects.filter(deleted_at=None), uid=uid)
    record(access.team, access.user, "downloaded adapter", shown)
    zipped = packages.archive(shown)
    headers = attachment(f"{packages.folder_name(shown)}.zip", len(zipped))
    return StreamingHttpResponse(streamed(iter(zipped)), content_type="application/zip", headers=headers)


def attachment(name: str, size: int) -> dict[str, str]:
    """Headers of a file to save under this name."""
    disposition = content_disposition_header(True, name)
    return {"Content-Length": str(size), "Content-Disposition": disposition or "attachment"}


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    shown = access.get(TunedModel.objects.filter(deleted_at=None), uid=uid)
    services.delete_model(shown, access.user)
    messages.success(request, f"Deleted “{shown}”. You can restore it below.")
    return redirect("registry:list", access.team.slug)


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    shown = access.get(TunedModel.objects.exclude(deleted_at=None), uid=uid)
    services.restore_model(shown, access.user)
    messages.success(request, f"Restored “{shown}”.")
    return redirect(shown)


@member()
@require_http_methods(["GET", "POST"])
def bases(request: HttpRequest, access: Access) -> HttpResponse:
    """The models that jobs may start from. A POST adds one."""
    form = BaseModelForm(request.POST if request.method == "POST" else None, team=access.team)
    if request.method == "POST":
        access.require(Role.EDITOR)
        if form.is_valid():
            added = services.add_base_model(access.team, access.user, **form.cleaned_data)
            messages.success(request, f"Added {added}. It is fetched when the first job with it starts.")
            return redirect("registry:bases", access.team.slug)
    models = BaseModel.objects.filter(Q(team=access.team) | Q(team=None))
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "registry/bases.html", {"models": models, "form": form}, status=status)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def upload(request: HttpRequest, access: Access) -> HttpResponse:
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
            return redirect(kept)
    return render(request, "registry/upload.html", {"form": form}, status=422 if form.errors else 200)
