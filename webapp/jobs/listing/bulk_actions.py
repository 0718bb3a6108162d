"""Actions on several jobs of the list: confirmed, then applied where a job allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from webapp.jobs import services
from webapp.jobs.errors import ActionRefused
from webapp.jobs.listing import pinned_jobs, removal, tags
from webapp.jobs.models import Job, Pin
from webapp.teams.models import Team, User

MAX_JOBS = 100


@dataclass(frozen=True)
class Action:
    """An action. ``refusal`` returns why a job does not allow it, empty if it does."""

    label: str
    title: str
    text: str
    done: str
    refusal: Callable[[Job], str]
    destroys: bool = False


def _refuse_ended(job: Job) -> str:
    return "" if job.live else f"It has ended already ({job.get_state_display().lower()})."


def _refuse_pinned(job: Job) -> str:
    return "It is pinned already." if job.pin else ""


def _refuse_unpinned(job: Job) -> str:
    return "" if job.pin else "It is not pinned."


def _allow(job: Job) -> str:
    return ""


ACTIONS = {
    "tag": Action("Tag", "Tag jobs", "Tags are added to or removed from all of them.", "Tagged", _allow),
    "pin": Action("Pin", "Pin jobs", "Pinned jobs stay at the top of the list.", "Pinned", _refuse_pinned),
    "unpin": Action("Unpin", "Unpin jobs", "They leave the top of the list.", "Unpinned", _refuse_unpinned),
    "cancel": Action(
        "Cancel jobs", "Cancel jobs", "They end now and cannot be resumed. Their metrics and rollouts stay.",
        "Cancelled", _refuse_ended, destroys=True,
    ),
    "delete": Action(
        "Delete jobs", "Delete jobs",
        "They are hidden from all lists. Their models stay. You can restore them; after "
        f"{removal.KEPT_DAYS} days their rollouts, logs and checkpoints are removed for good.",
        "Deleted", removal.explain_refusal, destroys=True,
    ),
}  # fmt: skip


def select_jobs(team: Team, uids: Sequence[str]) -> list[Job]:
    """Return the team's jobs with these ids, the newest first."""
    jobs = Job.objects.alive().filter(team=team, uid__in=uids[:MAX_JOBS])
    return list(jobs.select_related("team").order_by("-pk"))


def apply_action(
    name: str, jobs: Sequence[Job], user: User, add: str = "", remove: str = ""
) -> tuple[list[Job], list[str]]:
    """Apply an action to each job. Return the changed jobs, and why the others were not changed.

    Raises ``ActionRefused`` for unusable tags.
    """
    added, removed = tags.read_tags(add), tags.read_tags(remove)
    functions: dict[str, Callable[[Job], None]] = {
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
            functions[name](job)
        except ActionRefused as error:
            refused.append(str(error))
        else:
            done.append(job)
    return done, refused
