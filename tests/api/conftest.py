"""Callers of the API: Alice's key may do everything, Bob's key is a viewer's, Charlie is a stranger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.api.document import sample_urls
from tests.conftest import Process, serve_web
from webapp.keys.models import Scope
from webapp.keys.services import create_key
from webapp.teams.models import Team, User

Call = Callable[..., Any]


def make_secret(team: Team, user: User, *scopes: Scope) -> str:
    """Return a new personal key, with all scopes unless some are named."""
    return create_key(team, user, "test", scopes or Scope)[1]


def make_call(secret: str) -> Call:
    """Return ``call(method, path, body)``, which sends JSON with the key and returns the response."""
    client = Client(headers={"authorization": f"Bearer {secret}"})

    def call(method: str, path: str, body: Any = None, **options: Any) -> Any:
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        return client.generic(method, f"/v1{path}", **options)

    return call


@pytest.fixture
def sample(settings: Any) -> list[str]:
    """Add the routes of ``sample_urls``. Gives the bodies that reached them."""
    settings.ROOT_URLCONF = "tests.api.document.sample_urls"
    sample_urls.CALLS.clear()
    return sample_urls.CALLS


@pytest.fixture
def live(start: Callable[..., Process], start_worker: Callable[..., Process]) -> str:
    """The address of a site of this test alone, with a worker and a beat."""
    address = serve_web(start)
    start_worker()
    return address


@pytest.fixture
def secret(team: Team, alice: User) -> str:
    return make_secret(team, alice)


@pytest.fixture
def call(secret: str) -> Call:
    """Calls as Alice, an owner."""
    return make_call(secret)


@pytest.fixture
def viewer_call(team: Team, bob: User) -> Call:
    """Calls as Bob, a viewer."""
    return make_call(make_secret(team, bob))


@pytest.fixture
def stranger_call(charlie: User) -> Call:
    """Calls as Charlie, who owns another team."""
    return make_call(make_secret(charlie.teams.get(), charlie))
