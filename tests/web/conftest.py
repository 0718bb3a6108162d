"""What several tests of pages begin with."""

from __future__ import annotations

import pytest

from tests.web.comparison import finished_job, tuned_model
from webapp.jobs.models import Job
from webapp.registry.models import TunedModel
from webapp.teams.models import Team, User


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    """A finished job of the sample project, without a model or a comparison yet."""
    return finished_job(team, alice)


@pytest.fixture
def model(team: Team, alice: User) -> TunedModel:
    """A model with its files, made by a finished job."""
    return tuned_model(finished_job(team, alice))
