"""Warnings that a test split was opened before the end of a job."""

from __future__ import annotations

from collections.abc import Sequence

from django import template

from webapp.jobs.models import Job
from webapp.jobs.monitor.openings import find_openings

register = template.Library()


@register.inclusion_tag("jobs/openings.html")
def test_openings(job: Job | None) -> dict[str, object]:
    """Show a warning for each opening that concerns the job."""
    return {"openings": find_openings([job]) if job else []}


@register.inclusion_tag("jobs/openings.html")
def test_openings_of_jobs(jobs: Sequence[Job]) -> dict[str, object]:
    """Show a warning for each opening that concerns some of the jobs; it names them."""
    return {"openings": find_openings(jobs), "several": True}
