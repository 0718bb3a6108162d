"""Every error below /v1 has OpenAI's envelope and a request id."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.api.conftest import Call


@pytest.mark.parametrize("path", ["/v1/unknown", "/v1/files/", "/v1/a%00b", "/v1/models/x?after=%FF"])
def test_an_error_has_the_envelope(db: None, path: str) -> None:
    response = Client().get(path)
    assert response.status_code in (400, 401, 404)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req_")


def test_an_unknown_url_is_named(call: Call) -> None:
    response = call("POST", "/unknown", {})
    assert response.status_code == 404
    assert "POST /v1/unknown" in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "invalid_request_error"
