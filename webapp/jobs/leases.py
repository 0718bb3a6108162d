"""Who works on what: claims, leases, and what happens when a worker falls silent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from webapp.registry.models import Export
from webapp.teams.models import Team
from workers.exports import CPU_CORES

from . import bell
from .models import Job, Node
from .states import State
from .transitions import move


def _lease() -> datetime:
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)


def free_devices(node: Node) -> dict[str, Any]:
    """The node's devices less those of the jobs and exports that run there."""
    running = Job.objects.filter(node=node, state=State.RUNNING).values_list("devices", flat=True)
    taken = {index for devices in running for index in devices.get("gpus", [])}
    exports = Export.objects.filter(node=node.name, state=Export.State.RUNNING).count()
    cores = sum(devices.get("cpu_cores", 0) for devices in running) + exports * CPU_CORES
    return {
        "cpu_cores": node.devices["cpu_cores"] - cores,
        "gpus": [gpu for gpu in node.devices["gpus"] if gpu["index"] not in taken],
    }


def fit(wanted: dict[str, Any], free: dict[str, Any]) -> dict[str, Any] | None:
    """The devices to give a job that asks for ``wanted`` (``workers.spec.Resources``), or None."""
    gpus = [gpu["index"] for gpu in free["gpus"] if gpu["memory_gib"] >= wanted["gpu_memory_gib"]]
    if free["cpu_cores"] < wanted["cpu_cores"] or len(gpus) < wanted["gpus"]:
        return None
    return {"cpu_cores": wanted["cpu_cores"], "gpus": gpus[: wanted["gpus"]]}


@transaction.atomic
def claim(node_name: str) -> Job | None:
    """Lease the oldest queued job that fits the node's free devices; its attempt number goes up by one."""
    node = Node.objects.select_for_update().filter(name=node_name).first()
    if node is None:  # it announces itself after its first probe and rings then
        return None
    free = free_devices(node)
    for job in Job.objects.filter(state=State.QUEUED).order_by("queued_at", "id")[:200]:
        devices = fit(job.settings["resources"], free)
        if devices is None or not Job.objects.filter(pk=job.pk).select_for_update(skip_locked=True).exists():
            continue
        if not _within_quota(job):
            continue
        now = timezone.now()
        taken = move(
            job.pk,
            State.RUNNING,
            guard=Q(attempt=job.attempt),
            attempt=job.attempt + 1,
            node=node,
            devices=devices,
            lease_until=_lease(),
            started_at=job.started_at or now,
            error=None,
        )
        if taken:
            return Job.objects.select_related(
                "team", "base_model", "dataset_version", "grader_version"
            ).get(pk=job.pk)  # fmt: skip
    return None


def _within_quota(job: Job) -> bool:
    """Whether the team may run one more job now; its row is locked, so that two nodes do not both say yes."""
    team = Team.objects.select_for_update(no_key=True).get(pk=job.team_id)
    return team.max_running_jobs is None or at_once(team) < team.max_running_jobs


def at_once(team: Team) -> int:
    """How many of the team's jobs run now."""
    return team.jobs.filter(state=State.RUNNING).count()


def holds(job_id: int, attempt: int) -> Q:
    """The condition that fences a write: this attempt still holds the job."""
    return Q(pk=job_id, attempt=attempt, state=State.RUNNING)


def renew(job_id: int, attempt: int) -> str | None:
    """Keep the job for another lease. Returns what ``asked`` does."""
    if not Job.objects.filter(holds(job_id, attempt)).update(lease_until=_lease()):
        return None
    return asked(job_id, attempt)


def asked(job_id: int, attempt: int) -> str | None:
    """What was asked of the job: ``'pause'``, ``'finish'`` or ``''``. None if the attempt has lost it."""
    held = Job.objects.filter(holds(job_id, attempt))
    found = held.values_list("stop_requested", "finish_early").first()
    if found is None:
        return None
    stop, finish = found
    return stop or ("finish" if finish else "")


@transaction.atomic
def fail(job_id: int, attempt: int, error: dict[str, str]) -> None:
    """End the job with an error that another attempt would meet again."""
    move(job_id, State.FAILED, guard=holds(job_id, attempt), error=error)


@transaction.atomic
def attempt_died(job_id: int, attempt: int, detail: str, guard: Q | None = None) -> None:
    """An attempt ended without a word: queue the job again, or fail it after too many."""
    held = holds(job_id, attempt) & (guard or Q())
    job = Job.objects.select_for_update().filter(held).first()
    if job is None:
        return
    deaths = job.deaths + 1
    if deaths > settings.MAX_DEATHS:
        error = {
            "code": "worker_died",
            "message": f"The job's process died {deaths} times, last in attempt {attempt}.",
            "remedy": "Look at the log. Often it is memory: lower prompts per step or completion length.",
            "detail": detail,
        }
        move(job_id, State.FAILED, guard=Q(attempt=attempt), deaths=deaths, error=error)
    elif job.stop_requested == "pause":
        move(job_id, State.PAUSED, guard=Q(attempt=attempt), deaths=deaths)
    else:
        move(job_id, State.QUEUED, guard=Q(attempt=attempt), deaths=deaths)
        bell.ring("look")


def reap() -> None:
    """Take jobs back whose lease has expired, and ring again for everything that waits."""
    expired = Q(state=State.RUNNING, lease_until__lt=timezone.now())
    silent = "The worker fell silent: its lease was not renewed."
    for job_id, attempt in Job.objects.filter(expired).values_list("pk", "attempt"):
        attempt_died(job_id, attempt, silent, guard=expired)
    _ring_for_waiting()


def _ring_for_waiting() -> None:
    for job_id in Job.objects.filter(state=State.VALIDATING_FILES).values_list("pk", flat=True):
        bell.ring("validate_job", job_id)
    if Job.objects.filter(state=State.QUEUED).exists():
        bell.ring("look")
