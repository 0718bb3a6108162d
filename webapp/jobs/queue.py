"""The queue of jobs: claiming by nodes, requests to running jobs, and states after a crash."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q

from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.teams.models import Team
from webapp.work import messages
from webapp.work.errors import WorkFailed
from webapp.work.models import Node
from webapp.work.placement import choose_devices, find_free_devices
from webapp.work.queue import LeaseQueue, fence_item

TASK = "run_jobs"
CANDIDATES = 200
REMEDY = "Read the log. A common cause is memory: lower prompts per step or completion length."


class JobQueue(LeaseQueue[Job]):
    """Jobs change state only along the table of transitions, with an event for each change."""

    def change(self, pk: int, state: str, *, guard: Q, **values: Any) -> bool:
        return change_state(pk, State(state), guard=guard, **values)

    def notify(self, pk: int) -> None:
        """Wake a worker, which then looks for the oldest job that fits its node."""
        messages.notify_workers(self.task)

    def notify_waiting(self) -> None:
        """Wake workers for queued jobs, and for new ones whose files are not checked yet."""
        new = Job.objects.filter(state=State.VALIDATING_FILES).exclude(dataset_version=None)
        for pk in new.values_list("pk", flat=True):
            messages.notify_workers("validate_job", pk)
        if Job.objects.filter(state=State.QUEUED).exists():
            messages.notify_workers(self.task)

    def choose_state_after_crash(self, item: Job) -> str:
        return State.PAUSED if item.stop_requested == "pause" else State.QUEUED

    def build_crash_error(self, item: Job, crashes: int, detail: str) -> WorkFailed:
        message = f"The job's process died {crashes} times, last in attempt {item.attempt}."
        return WorkFailed(message, self.remedy, code="worker_died", detail=detail)


JOBS = JobQueue(
    Job,
    "jobs",
    TASK,
    REMEDY,
    related=("team", "base_model", "dataset_version", "grader_version", "environment_version__environment"),
)


@transaction.atomic
def claim_job(node_name: str) -> Job | None:
    """Lease the oldest queued job that fits the node's free devices; None if there is none."""
    node = Node.objects.select_for_update().filter(name=node_name).first()
    if node is None:  # the node registers after its first probe, then claims again
        return None
    free = find_free_devices(node)
    for job in Job.objects.filter(state=State.QUEUED).order_by("queued_at", "id")[:CANDIDATES]:
        devices = choose_devices(job.settings.resources, free)
        if devices is None or not Job.objects.filter(pk=job.pk).select_for_update(skip_locked=True).exists():
            continue
        if not _is_within_quota(job):
            continue
        first = {"started_at": job.started_at} if job.started_at else {}
        if claimed := JOBS.claim(job.pk, node=node, devices=devices, **first):
            return claimed
    return None


def _is_within_quota(job: Job) -> bool:
    """True if the team may run one more job. A lock keeps two nodes from both taking it."""
    team = Team.objects.select_for_update(no_key=True).get(pk=job.team_id)
    return team.max_running_jobs is None or count_running(team) < team.max_running_jobs


def count_running(team: Team) -> int:
    """Return how many of the team's jobs run now."""
    return team.jobs.filter(state=State.RUNNING).count()


def requested_stop(job: Job) -> str | None:
    """Return ``'pause'``, ``'finish'`` or ``''`` as requested; None if the job is lost."""
    found = Job.objects.filter(fence_item(job)).values_list("stop_requested", "finish_early").first()
    if found is None:
        return None
    stop, finish = found
    return stop or ("finish" if finish else "")
