"""A base model on our own workers judges, on the model server that chat uses too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.api.serving.model_server import TOKEN, run_server
from webapp.endpoints.models import Endpoint, EndpointCheck
from webapp.endpoints.services import connect_endpoint, request_check
from webapp.registry.services import ensure_starter_model
from webapp.serving import servers
from webapp.serving.models import ModelServer
from webapp.serving.queues import SERVERS
from webapp.teams.models import Team, User
from webapp.work.models import WorkState
from webapp.work.nodes import record_health, register_node
from workers.bridge import judges
from workers.bridge.graders import judge_checks
from workers.bridge.nodes import node_name
from workers.contract.devices import NodeDevices

pytestmark = pytest.mark.django_db(transaction=True)
DEFINITION = {
    "type": "score_model",
    "name": "judge",
    "model": "ours",
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
}


@pytest.fixture
def endpoint(team: Team, alice: User) -> Iterator[Endpoint]:
    """A judge on our workers. Its server, if one started in this process, ends with the test."""
    yield connect_endpoint(team, alice, name="ours", base_model=ensure_starter_model())
    ModelServer.objects.update(state=WorkState.FINISHED)
    for thread in threading.enumerate():
        if thread.name.startswith("server "):
            thread.join()


def test_a_check_starts_the_server_beside_it_and_leaves_it_to_others(endpoint: Endpoint) -> None:
    request_check(endpoint)
    check = EndpointCheck.objects.get(endpoint=endpoint)
    judge_checks.check_endpoint(check.pk)
    check.refresh_from_db()
    assert check.error is None
    assert check.seconds > 0
    assert ModelServer.objects.get().ready


def test_a_judged_work_holds_its_server_and_notices_its_end(endpoint: Endpoint, settings: Any) -> None:
    settings.SERVE_IDLE_SECONDS = 60
    with (
        run_server(endpoint.base_model),
        judges.connect_judges(endpoint.team, [DEFINITION], threading.Event()) as connection,
    ):
        server = ModelServer.objects.get()
        assert connection.endpoints["ours"].base_url == server.url
        assert connection.keys["ours"] == TOKEN
        long_ago = timezone.now() - timedelta(seconds=61)
        ModelServer.objects.update(last_used_at=long_ago)
        until(lambda: ModelServer.objects.get().last_used_at > long_ago)
        assert not servers.stop_if_idle(server)
        assert not connection.moved.is_set()
        SERVERS.crash(server, "killed")
        assert connection.moved.wait(5), "a job would go on asking at a URL that is no longer true"


def test_work_says_why_it_waits_and_gives_up_where_memory_is_short(endpoint: Endpoint, settings: Any) -> None:
    settings.SERVE_WAIT_SECONDS = 0.5
    register_node(node_name(), {}, NodeDevices(), {})
    record_health(node_name(), {"memory_free_gib": 0.2})
    reasons: list[str] = []
    with (
        pytest.raises(judges.JudgeUnreachable, match="GiB of memory"),
        judges.connect_judges(endpoint.team, [DEFINITION], threading.Event(), report=reasons.append),
    ):
        pass
    assert len(reasons) == 1
    assert "has 0.2 GiB free" in reasons[0]


def until(holds: Any) -> None:
    pause = threading.Event()
    for _ in range(50):
        if holds():
            return
        pause.wait(0.1)
    raise AssertionError("it did not happen within five seconds")
