"""Tags and notes of jobs."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import F, Func

from webapp.core.fields import replace_nul
from webapp.jobs.errors import ActionRefused
from webapp.jobs.models import Job
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

TAG_LENGTH, MAX_TAGS, NOTES_LENGTH = 30, 12, 5000


def read_tags(text: str) -> list[str]:
    """Split a comma-separated text into distinct tags. Raises ``ActionRefused`` for unusable tags."""
    tags = list(
        dict.fromkeys(filter(None, (" ".join(part.split()) for part in replace_nul(text).split(","))))
    )
    if too_long := next((tag for tag in tags if len(tag) > TAG_LENGTH), None):
        raise ActionRefused(f"The tag “{too_long[:TAG_LENGTH]}…” has more than {TAG_LENGTH} characters.")
    if len(tags) > MAX_TAGS:
        raise ActionRefused(f"A job has at most {MAX_TAGS} tags; these are {len(tags)}.")
    return tags


@transaction.atomic
def annotate(job: Job, user: User, tags: str, notes: str) -> None:
    """Replace the job's tags and notes. Raises ``ActionRefused`` for unusable ones."""
    read, notes = read_tags(tags), replace_nul(notes).strip()
    if len(notes) > NOTES_LENGTH:
        raise ActionRefused(f"Notes have at most {NOTES_LENGTH:,} characters; these have {len(notes):,}.")
    Job.objects.filter(pk=job.pk).update(tags=read, notes=notes)
    record_event(job.team, user, "changed tags or notes", job)


@transaction.atomic
def change_tags(job: Job, user: User, add: Iterable[str], remove: Iterable[str]) -> None:
    """Add and remove tags. Raises ``ActionRefused`` if the job would have too many."""
    kept = [tag for tag in Job.objects.select_for_update().get(pk=job.pk).tags if tag not in {*remove}]
    tags = list(dict.fromkeys([*kept, *add]))
    if len(tags) > MAX_TAGS:
        raise ActionRefused(f"“{job.name}” would have {len(tags)} tags; at most {MAX_TAGS} are kept.")
    Job.objects.filter(pk=job.pk).update(tags=tags)
    record_event(job.team, user, "changed tags or notes", job)


def list_tags(team: Team) -> list[str]:
    """Return all tags of the team's jobs in alphabetical order."""
    jobs = Job.objects.alive().filter(team=team).order_by()
    found = jobs.annotate(tag=Func(F("tags"), function="unnest")).values_list("tag", flat=True).distinct()
    return sorted(found, key=str.casefold)
