"""The warning that the test split of a result was not sealed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import template

from webapp.jobs.models import Job
from webapp.jobs.monitor.openings import find_openings

register = template.Library()


@register.inclusion_tag("jobs/openings.html")
def test_openings(job: Job | None) -> dict[str, Any]:
    """A warning for each opening of a test split that the job's results have to be read with."""
    return {"openings": find_openings([job]) if job else []}


@register.inclusion_tag("jobs/openings.html")
def test_openings_of_jobs(jobs: Sequence[Job]) -> dict[str, Any]:
    """The same warning where the results of several jobs stand beside each other; it names the jobs."""
    return {"openings": find_openings(jobs), "several": True}
