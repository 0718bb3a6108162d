"""What is done to several jobs at once: shown for confirmation, then done to each that allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from webapp.jobs import services
from webapp.jobs.listing import pinned_jobs, removal, tags
from webapp.jobs.models import Job, Pin
from webapp.teams.models import Team, User

MOST_JOBS = 100


@dataclass(frozen=True)
class Action:
    """One thing to do: its button, what it means, what was done, and why a job does not allow it."""

    label: str
    title: str
    text: str
    done: str
    refusal: Callable[[Job], str]
    destroys: bool = False


def _not_live(job: Job) -> str:
    return "" if job.live else f"It has ended already ({job.get_state_display().lower()})."


def _pinned(job: Job) -> str:
    return "It is pinned already." if job.pin else ""


def _unpinned(job: Job) -> str:
    return "" if job.pin else "It is not pinned."


def _anything(job: Job) -> str:
    return ""


ACTIONS = {
    "tag": Action("Tag", "Tag jobs", "Tags are added to and removed from all of them.", "Tagged", _anything),
    "pin": Action("Pin", "Pin jobs", "Pinned jobs stay at the top of the list.", "Pinned", _pinned),
    "unpin": Action("Unpin", "Unpin jobs", "They leave the top of the list.", "Unpinned", _unpinned),
    "cancel": Action(
        "Cancel jobs", "Cancel jobs", "They end now and cannot go on. What they measured stays.",
        "Cancelled", _not_live, destroys=True,
    ),
    "delete": Action(
        "Delete jobs", "Delete jobs",
        "They leave all lists. Their models stay. You can restore them; after "
        f"{removal.KEPT_DAYS} days their rollouts, logs and checkpoints are removed for good.",
        "Deleted", removal.refusal, destroys=True,
    ),
}  # fmt: skip


def jobs_of(team: Team, uids: Sequence[str]) -> list[Job]:
    """The team's jobs among these, the newest first."""
    kept = Job.objects.filter(team=team, deleted_at=None, uid__in=uids[:MOST_JOBS])
    return list(kept.select_related("team").order_by("-pk"))


def run(
    name: str, jobs: Sequence[Job], user: User, add: str = "", remove: str = ""
) -> tuple[list[Job], list[str]]:
    """Do it to each job. Returns the jobs it was done to, and why not to the others. Raises ValueError."""
    added, removed = tags.read_tags(add), tags.read_tags(remove)
    each: dict[str, Callable[[Job], None]] = {
        "tag": lambda job: tags.change_tags(job, user, added, removed),
        "pin": lambda job: pinned_jobs.pin_job(job, user, Pin.PINNED),
        "unpin": lambda job: pinned_jobs.pin_job(job, user, ""),
        "cancel": lambda job: services.request_cancel(job, user),
        "delete": lambda job: removal.delete_job(job, user),
    }
    done: list[Job] = []
    refused: list[str] = []
    for job in jobs:
        try:
            each[name](job)
        except ValueError as error:
            refused.append(str(error))
        else:
            done.append(job)
    return done, refused
