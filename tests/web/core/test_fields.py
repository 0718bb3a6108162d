"""Columns with a schema read as its instances, however their values came there."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.web.comparison import finished_job
from webapp.jobs.models import Job
from webapp.jobs.models.job import JobProgress
from webapp.teams.models import Team, User
from workers.contract.spec import JobSettings

pytestmark = pytest.mark.django_db


def test_a_column_reads_alike_before_and_after_it_is_saved(team: Team, alice: User) -> None:
    job = finished_job(team, alice)
    assert isinstance(job.settings, JobSettings)
    job.progress = {"phase": "train", "done": 3, "total": 5}  # type: ignore[assignment]
    assert job.progress == JobProgress(phase="train", done=3, total=5)
    job.save(update_fields=["progress"])
    assert Job.objects.get().progress == job.progress
    assert Job.objects.only("pk").get().progress == job.progress, "a deferred column is parsed, too"


def test_a_row_is_found_by_what_lies_in_a_column(team: Team, alice: User) -> None:
    job = finished_job(team, alice)
    size = job.settings.grpo.group_size
    assert Job.objects.filter(settings__grpo__group_size=size).count() == 1
    assert Job.objects.values_list("settings__grpo__group_size", flat=True).get() == size
    assert Job.objects.filter(settings__grpo__group_size=size + 1).count() == 0


def test_a_value_that_does_not_fit_is_refused(team: Team, alice: User) -> None:
    job = finished_job(team, alice)
    with pytest.raises(ValidationError):
        job.settings = {"grpo": {"group_size": 1}}  # type: ignore[assignment]
