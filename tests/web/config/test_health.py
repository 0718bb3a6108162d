"""The health check reports that the process reaches its database."""

import pytest
from django.test import Client


@pytest.mark.django_db
def test_health_check_answers_from_the_database(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
