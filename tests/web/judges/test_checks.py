"""Checks of judges by a worker, and judges that nobody has connected."""

from __future__ import annotations

from cryptography.fernet import Fernet
from django.db import connection

from tests.web.judges.labels import DEFINITION
from tests.workers.judge_server import KEY, Answer, JudgeServer
from webapp.endpoints import services as endpoints
from webapp.endpoints.models import Endpoint, EndpointCheck
from webapp.teams.models import Team
from workers import grading
from workers.bridge.graders import judge_checks


def check(endpoint: Endpoint) -> None:
    """A worker runs the check of the endpoint."""
    judge_checks.check_endpoint(EndpointCheck.objects.get(endpoint=endpoint).pk)


def test_a_worker_tells_whether_a_judge_answers(endpoint: Endpoint, judge: JudgeServer) -> None:
    judge.behave = lambda body, number: Answer('{"reason": "it is", "label": "yes"}')
    endpoints.request_check(endpoint)
    check(endpoint)
    endpoint.last_check.refresh_from_db()
    assert (endpoint.last_check.error, endpoint.last_check.seconds > 0) == (None, True)
    assert list(judge.authorizations) == [f"Bearer {KEY}"]
    check(endpoint)
    assert len(judge.requests) == 1, "a second message asks nothing"
    judge.behave = lambda body, number: Answer(status=401)
    endpoints.request_check(endpoint)
    check(endpoint)
    endpoint.last_check.refresh_from_db()
    assert "Check the key" in endpoint.last_check.error.message
    assert KEY not in endpoint.last_check.error.model_dump_json()


def test_a_worker_with_another_secret_says_so_and_sends_nothing(
    endpoint: Endpoint, judge: JudgeServer
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "update endpoints_endpoint set api_key = %s",
            [Fernet(Fernet.generate_key()).encrypt(b"x").decode()],
        )
    endpoint = Endpoint.objects.get()
    endpoints.update_endpoint(endpoint, endpoint.created_by, budget=7.0)
    endpoints.request_check(Endpoint.objects.get())
    check(endpoint)
    assert "GROOVE_SECRET_KEY differs from the one" in EndpointCheck.objects.get().error.message
    assert judge.requests == []


def test_a_grader_is_told_which_of_its_judges_nobody_has_connected(team: Team, endpoint: Endpoint) -> None:
    known, unknown = (grading.validate(DEFINITION | {"model": model}) for model in ("gpt-judge", "other"))
    assert endpoints.list_missing_judges(team, known) == []
    assert endpoints.list_missing_judges(team, unknown) == ["other"]
