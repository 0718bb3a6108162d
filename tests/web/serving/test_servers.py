"""Model servers as rows: who starts, keeps and stops them, and what happens to an idle one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.web.comparison import finished_job, tuned_model
from webapp.catalog.model_names import describe_tuned
from webapp.registry import base_files
from webapp.registry.models import BaseModel
from webapp.registry.services import ensure_starter_model
from webapp.serving import servers
from webapp.serving.models import ModelServer
from webapp.serving.queues import SERVERS, claim_server
from webapp.serving.routing import Route, build_route
from webapp.teams.models import Team, User
from webapp.work.errors import WorkFailed
from webapp.work.models import WorkState
from webapp.work.nodes import record_health, register_node
from workers.contract.devices import NodeDevices

SignIn = Callable[[User], Client]
URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def base(db: None) -> BaseModel:
    return ensure_starter_model()


@pytest.fixture
def ready(base: BaseModel) -> ModelServer:
    """A server that an attempt holds and that answers."""
    server = SERVERS.claim(ModelServer.objects.create(base_model=base).pk)
    assert server
    SERVERS.renew(server, url=URL, token="secret")
    server.refresh_from_db()
    return server


def route_of(base: BaseModel) -> Route:
    return Route(base.model_id, base.model_id, base, None, None, "")


def state(server: ModelServer) -> tuple[str, str]:
    server.refresh_from_db()
    return server.state, server.url


def test_the_token_of_a_server_is_encrypted_and_goes_with_its_attempt(ready: ModelServer) -> None:
    stored = ModelServer.objects.extra(select={"raw": "token"}).values_list("raw", flat=True).get()
    assert "secret" not in stored
    SERVERS.crash(ready, "killed")
    ready.refresh_from_db()
    assert (ready.state, ready.url, ready.token) == (WorkState.QUEUED, "", None)


def test_an_idle_server_stops_and_a_warm_or_used_one_stays(ready: ModelServer, settings: Any) -> None:
    settings.SERVE_IDLE_SECONDS = 60
    long_ago = timezone.now() - timedelta(seconds=61)
    assert not servers.stop_if_idle(ready), "it was just used"
    ModelServer.objects.update(last_used_at=long_ago, warm=True)
    assert not servers.stop_if_idle(ready)
    ModelServer.objects.update(warm=False)
    assert servers.stop_if_idle(ready)
    assert state(ready) == (WorkState.FINISHED, "")


def test_a_stopped_server_starts_with_the_next_use(ready: ModelServer, team: Team, alice: User) -> None:
    assert servers.stop_server(ready, team, alice)
    assert not servers.stop_server(ready, team, alice)
    target = servers.find_served(route_of(ready.base_model))
    assert target is None
    assert state(ready) == (WorkState.QUEUED, "")


def test_a_failed_server_is_not_started_again_at_once(ready: ModelServer) -> None:
    SERVERS.fail(ready, WorkFailed("No such folder."))
    with pytest.raises(servers.ServerFailed, match="No such folder"):
        servers.find_served(route_of(ready.base_model))
    ModelServer.objects.update(finished_at=timezone.now() - timedelta(minutes=1))
    assert servers.find_served(route_of(ready.base_model)) is None
    assert state(ready)[0] == WorkState.QUEUED


def test_an_adapter_counts_as_loaded_in_the_attempt_that_loaded_it(
    ready: ModelServer, team: Team, alice: User
) -> None:
    model = tuned_model(finished_job(team, alice))
    route = build_route(model.name, describe_tuned(model))
    assert servers.find_served(route) is None
    (wanted,) = servers.list_missing_adapters(ready)
    ready.adapters.update(loaded_attempt=ready.attempt)
    served = servers.find_served(route)
    assert served
    assert (served.url, served.token, served.model) == (URL, "secret", wanted.sha256)
    SERVERS.crash(ready, "killed")
    again = SERVERS.claim(ready.pk)
    assert again
    assert servers.list_missing_adapters(again) == [wanted], "a new process holds nothing"


def test_a_node_without_memory_leaves_the_server_to_others(
    base: BaseModel,
) -> None:
    assert base_files.measure_weights(base)
    server = ModelServer.objects.create(base_model=base)
    register_node("small", {}, NodeDevices(), {})
    record_health("small", {"memory_free_gib": 0.5})
    assert claim_server(server.pk, "small") is None
    server.refresh_from_db()
    assert server.shortage == "It needs about 1.0 GiB of memory; small has 0.5 GiB free."
    register_node("large", {}, NodeDevices(), {})
    record_health("large", {"memory_free_gib": 8})
    claimed = claim_server(server.pk, "large")
    assert claimed
    assert (claimed.node and claimed.node.name, claimed.shortage) == ("large", "")


def test_editors_keep_a_server_warm_and_stop_it_and_viewers_see_its_state(
    team: Team, alice: User, bob: User, base: BaseModel, as_user: SignIn
) -> None:
    page, client = f"/t/{team.slug}/usage/", as_user(alice)
    assert "Starts with the first request." in as_user(bob).get(page).text
    client.post(f"{page}servers/{base.uid}/warm/", {"warm": "1"})
    server = ModelServer.objects.get()
    assert (server.state, server.warm) == (WorkState.QUEUED, True)
    assert "Waiting for a worker" in client.get(page).text
    SERVERS.claim(server.pk)
    assert "Loading" in client.get(page).text
    ModelServer.objects.update(url=URL)
    text = as_user(bob).get(page).text
    assert "Serving" in text
    assert "Keep warm</button>" not in text
    client.post(f"{page}servers/{base.uid}/stop/")
    assert "Stopped" in client.get(page).text
    assert state(server) == (WorkState.FINISHED, "")
