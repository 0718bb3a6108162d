"""Connected endpoints in the playground: they stream, their keys stay here, and their faults have words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from tests.api.serving.model_server import Scripted, chunk, completion, last_chunk, serve_script
from tests.web.playground.test_playground import MESSAGES, ask, read_page, read_stream
from webapp.endpoints.models import Endpoint
from webapp.endpoints.services import connect_endpoint
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
KEY = "sk-of-the-endpoint-0123456789"
FORGED = chunk("Hi", choices=[{"index": "none"}])


@pytest.fixture
def script() -> Scripted:
    return Scripted(events=[": hello", chunk("Hi"), last_chunk(), "data: [DONE]"])


@pytest.fixture
def endpoint(team: Team, alice: User, script: Scripted) -> Iterator[Endpoint]:
    with serve_script(script, KEY) as url:
        yield connect_endpoint(team, alice, name="theirs", model="big", base_url=url, api_key=KEY)


def body_for(endpoint: Endpoint) -> dict[str, object]:
    return {"model": endpoint.uid, "messages": MESSAGES, "stream": True, "temperature": 0.5, "store": True}


def test_an_editor_chooses_an_endpoint_beside_a_model(
    team: Team, alice: User, bob: User, endpoint: Endpoint, as_user: SignIn
) -> None:
    base = ensure_starter_model()
    page = read_page(as_user(alice), team, model_1=base.model_id, model_2=endpoint.uid)
    assert 'aria-label="Answer of theirs (endpoint)"' in page
    assert KEY not in page
    assert "theirs (endpoint)" not in read_page(as_user(bob), team), "asking may cost the team money"


def test_an_answer_streams_and_the_key_goes_to_the_endpoint_only(
    team: Team, alice: User, endpoint: Endpoint, script: Scripted
) -> None:
    content = read_stream(alice, team, body_for(endpoint))
    assert '"content":"Hi"' in content
    assert '"completion_tokens":2' in content
    assert content.endswith("data: [DONE]\n\n")
    assert KEY not in content
    assert script.asked == [
        {
            "model": "big",
            "messages": MESSAGES,
            "temperature": 0.5,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": 401}, "Check the key."),
        ({"status": 302}, "redirects to another URL"),
        ({"events": [], "body": completion()}, "did not stream its answer"),
        ({"events": [FORGED]}, "no chunk of a chat completion"),
        ({"events": ['data: {"error": {"message": "of theirs"}}']}, "reported an error"),
        ({"events": [chunk("Hi")]}, "ended its answer early"),
    ],
)
def test_a_fault_of_the_endpoint_is_told_in_words(
    team: Team, alice: User, endpoint: Endpoint, script: Scripted, change: dict[str, object], said: str
) -> None:
    for name, value in change.items():
        setattr(script, name, value)
    content = read_stream(alice, team, body_for(endpoint))
    assert said in content
    assert "of theirs" not in content, "a server's own words are not quoted"


def test_an_internal_address_is_not_asked(
    team: Team, alice: User, endpoint: Endpoint, script: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "")
    assert "GROOVE_OUTBOUND_ALLOW" in read_stream(alice, team, body_for(endpoint))
    assert not script.asked


def test_viewers_and_strangers_find_no_endpoint(
    team: Team, bob: User, charlie: User, endpoint: Endpoint, script: Scripted, as_user: SignIn
) -> None:
    assert ask(as_user(bob), team, body_for(endpoint)).status_code == 404
    own = charlie.teams.get()
    assert ask(as_user(charlie), own, body_for(endpoint)).status_code == 404
    assert not script.asked
