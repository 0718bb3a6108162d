"""Views of checkpoints: download the adapter, promote it to a model."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from webapp.catalog import download_gate
from webapp.core.streaming import build_attachment_headers, stream_lazily
from webapp.jobs import checkpoints, promotion
from webapp.jobs.errors import WrongState
from webapp.jobs.models import Checkpoint, Job
from webapp.retention import gate
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.teams.services import record_event

PROMOTED = "Queued. The checkpoint will be evaluated and packaged. Then its model appears here."


def _find_checkpoint(access: Access, uid: str, step: int) -> Checkpoint:
    job = access.get(Job.objects.select_related("team", "base_model"), uid=uid)
    return get_object_or_404(job.checkpoints.select_related("job__base_model", "job__team"), step=step)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def download(request: HttpRequest, access: Access, uid: str, step: int) -> HttpResponseBase:
    """Download the adapter of a checkpoint, a PEFT folder in a zip file."""
    checkpoint = _find_checkpoint(access, uid, step)
    try:
        packed = checkpoints.pack_adapter(checkpoint)
    except checkpoints.CheckpointUnusable as error:
        messages.error(request, str(error))
        return redirect(checkpoint.job)
    what = f"step {step} of {checkpoint.job}"
    reasons = find_gate_reasons(checkpoint)
    if page := download_gate.confirm_download(request, access, what, checkpoint.job, reasons):
        return page
    record_event(access.team, access.user, "downloaded checkpoint", what)
    headers = build_attachment_headers(f"{checkpoints.folder_name(checkpoint)}.zip", len(packed))
    return StreamingHttpResponse(stream_lazily(iter(packed)), content_type="application/zip", headers=headers)


def find_gate_reasons(checkpoint: Checkpoint) -> list[str]:
    """Return why the retention gate does not pass the checkpoint; empty if it does or nothing is gated."""
    result = gate.check_job(checkpoint.job)
    if not result.gated:
        return []
    if result.state in (gate.READY, gate.RELEASED) and checkpoint.step == checkpoint.job.step:
        return []
    last = [f"The job's model: {reason}" for reason in result.reasons if result.state == gate.HELD_BACK]
    return [*last, f"No suite was measured for the gate at step {checkpoint.step}."]


@member(Role.EDITOR)
@require_POST
def promote(request: HttpRequest, access: Access, uid: str, step: int) -> HttpResponse:
    """Enqueue the job that makes a model of the checkpoint, and show it."""
    checkpoint = _find_checkpoint(access, uid, step)
    try:
        job = promotion.promote_checkpoint(checkpoint, access.user)
    except WrongState as error:
        messages.error(request, str(error))
        return redirect(checkpoint.job)
    messages.success(request, PROMOTED)
    return redirect(job)
