"""A base model on our own workers judges: no address, no key, only the model that the team has."""

from __future__ import annotations

import pytest

from webapp.endpoints.models import EndpointCheck
from webapp.endpoints.services import connect_endpoint, request_check
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from workers.bridge import judge_checks


@pytest.mark.django_db(transaction=True)
def test_a_served_base_model_answers_the_check_in_the_form_it_is_asked_for(team: Team, alice: User) -> None:
    endpoint = connect_endpoint(team, alice, name="ours", base_model=ensure_starter_model())
    request_check(endpoint)
    check = EndpointCheck.objects.get(endpoint=endpoint)
    judge_checks.check_endpoint(check.pk)
    check.refresh_from_db()
    assert check.error is None
    assert check.seconds > 0
