"""``/v1/fine_tuning/jobs``: create, list, retrieve, cancel, pause and resume jobs; events and checkpoints."""

from __future__ import annotations

from collections.abc import Callable

from ninja import Router

from webapp.core.api.errors import ApiError, NotFound
from webapp.core.api.lists import ListPage, list_page, parse_limit
from webapp.core.api.metadata import filter_by_metadata, read_filters
from webapp.jobs import services
from webapp.jobs.api import requests
from webapp.jobs.api.events import describe_event, select_events
from webapp.jobs.api.objects import describe_checkpoints, describe_job, select_jobs
from webapp.jobs.api.schemas import JobBody, JobObject
from webapp.jobs.errors import WrongState
from webapp.jobs.models import Job
from webapp.keys.authentication import READ, WRITE, ApiRequest
from webapp.teams.models import User
from workers.contract.json_types import JsonObject

router = Router(tags=["Fine-tuning"])


def _find_job(request: ApiRequest, uid: str) -> Job:
    job = select_jobs(request.auth.team).filter(uid=uid).first()
    if job is None:
        raise NotFound(f"Could not find fine tune: {uid}", param="fine_tune_id", code="fine_tune_not_found")
    return job


@router.get("/jobs", auth=READ, response=ListPage)
def list_jobs(request: ApiRequest, after: str | None = None, limit: str | None = None) -> ListPage:
    """List the team's jobs, newest first, also those launched on pages. Filter with ``metadata[key]``."""
    jobs = filter_by_metadata(select_jobs(request.auth.team), read_filters(request.GET))
    return list_page(jobs, describe_job, after=after, limit=parse_limit(limit, 20))


@router.post("/jobs", auth=WRITE, response=JobObject)
def create_job(request: ApiRequest, asked: JobBody) -> JsonObject:
    """Launch a job."""
    job = requests.create_job(request.auth.team, request.auth.user, asked)
    return describe_job(_find_job(request, job.uid))


@router.get("/jobs/{job_id}", auth=READ, response=JobObject)
def retrieve_job(request: ApiRequest, job_id: str) -> JsonObject:
    """Retrieve a job."""
    return describe_job(_find_job(request, job_id))


def _act(request: ApiRequest, uid: str, action: Callable[[Job, User | None], None]) -> JsonObject:
    """Do something with the job and describe it. Raises ApiError in the wrong state."""
    try:
        action(_find_job(request, uid), request.auth.user)
    except WrongState as error:
        raise ApiError(str(error), code="invalid_job_state") from error
    return describe_job(_find_job(request, uid))


@router.post("/jobs/{job_id}/cancel", auth=WRITE, response=JobObject)
def cancel_job(request: ApiRequest, job_id: str) -> JsonObject:
    """Cancel a job that has not ended. Its checkpoints stay."""
    return _act(request, job_id, services.request_cancel)


@router.post("/jobs/{job_id}/pause", auth=WRITE, response=JobObject)
def pause_job(request: ApiRequest, job_id: str) -> JsonObject:
    """Request that a running job writes a checkpoint and pauses. It runs until it has done so."""
    return _act(request, job_id, services.request_pause)


@router.post("/jobs/{job_id}/resume", auth=WRITE, response=JobObject)
def resume_job(request: ApiRequest, job_id: str) -> JsonObject:
    """Queue a paused job again. It continues with the step after its last checkpoint."""
    return _act(request, job_id, services.resume_job)


@router.get("/jobs/{job_id}/events", auth=READ, response=ListPage)
def list_events(
    request: ApiRequest, job_id: str, after: str | None = None, limit: str | None = None
) -> ListPage:
    """List a job's events, newest first: messages, and the metrics of each step."""
    job = _find_job(request, job_id)
    most = parse_limit(limit, 20)
    return list_page(select_events(job), lambda event: describe_event(job, event), after=after, limit=most)


@router.get("/jobs/{job_id}/checkpoints", auth=READ, response=ListPage)
def list_checkpoints(
    request: ApiRequest, job_id: str, after: str | None = None, limit: str | None = None
) -> ListPage:
    """List a job's checkpoints, newest first. Each can be used as a model."""
    job = _find_job(request, job_id)
    checkpoints = job.checkpoints.select_related("job__tuned_model")
    described = describe_checkpoints(job, list(checkpoints))
    return list_page(checkpoints, lambda each: described[each.pk], after=after, limit=parse_limit(limit, 10))
