"""What several tests of pages begin with."""

from __future__ import annotations

import pytest

from tests.web.comparison import finished_job, tuned_model
from webapp.registry.models import TunedModel
from webapp.teams.models import Team, User


@pytest.fixture
def model(team: Team, alice: User) -> TunedModel:
    """A model with its files, made by a finished job."""
    return tuned_model(finished_job(team, alice))
