"""Buttons of a job's page: pause, resume, cancel, finish, pin, rename, annotate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from webapp.jobs import services
from webapp.jobs.errors import ActionRefused
from webapp.jobs.listing import pinned_jobs, tags
from webapp.jobs.models import Job, Pin
from webapp.teams.access import Access, member
from webapp.teams.models import Role, User

Service = Callable[[Job, User], object]
PINNED = {
    "": "Unpinned.",
    Pin.PINNED: "Pinned for the team.",
    Pin.BASELINE: "This is the team's baseline now.",
}


def act(
    request: HttpRequest,
    access: Access,
    uid: str,
    service: Service,
    done: str = "",
    *,
    allow_deleted: bool = True,
) -> HttpResponse:
    """Call the service with the job and the member, then return to the job's page.

    The page shows ``done``, or the text of the service's ``ActionRefused``. With
    ``allow_deleted=False`` a deleted job is not found.
    """
    jobs = Job.objects.select_related("team")
    job = access.get(jobs if allow_deleted else jobs.alive(), uid=uid)
    try:
        service(job, access.user)
    except ActionRefused as error:
        messages.error(request, str(error))
    else:
        if done:
            messages.success(request, done)
    return redirect(job)


@member(Role.EDITOR)
@require_POST
def cancel(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.request_cancel, "Cancelled. Its checkpoints stay.")


@member(Role.EDITOR)
@require_POST
def pause(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.request_pause, "Pausing: a checkpoint is written first.")


@member(Role.EDITOR)
@require_POST
def finish(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.request_finish, "Finishing: evaluation follows the last step.")


@member(Role.EDITOR)
@require_POST
def resume(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.resume_job, "Queued; it goes on from its last checkpoint.")


@member(Role.EDITOR)
@require_POST
def pin(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Pin the job or make it the baseline by the value of ``pin``; else unpin it."""
    sent = request.POST.get("pin", "")
    kind = sent if sent in Pin.values else ""
    return act(
        request, access, uid, partial(pinned_jobs.pin_job, kind=kind), PINNED[kind], allow_deleted=False
    )


@member(Role.EDITOR)
@require_POST
def rename(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, partial(services.rename, name=request.POST.get("name", "")))


@member(Role.EDITOR)
@require_POST
def annotate(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Replace the job's tags and notes."""
    sent = request.POST
    service = partial(tags.annotate, tags=sent.get("tags", ""), notes=sent.get("notes", ""))
    return act(request, access, uid, service)
