"""Production refuses unsafe settings; attempts are counted across processes; tokens stay out of logs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import psycopg
import pytest
import redis
from allauth.core.internal import ratelimit
from django.conf import settings
from django.core.cache import CacheHandler
from django.test import RequestFactory

from tests.conftest import ROOT, free_port
from webapp.config import cache, embedded
from webapp.config.redaction import TokenFilter, redact

SECRET = "kJ8sd0fQ2mXz7Lp4Vt9Wb1Ny6Rc3Hg5Ae-Ui_OoPq8Ss2Dd4Ff6"
SAFE = {
    "GROOVE_PRODUCTION": "1",
    "GROOVE_SECRET_KEY": SECRET,
    "GROOVE_HOSTS": "groove.example",
    "GROOVE_DEBUG": "0",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"GROOVE_SECRET_KEY": "short"}, "GROOVE_SECRET_KEY is short"),
        ({"GROOVE_SECRET_KEY": "a" * 60}, "repeats itself"),
        ({"GROOVE_DEBUG": "1"}, "both on"),
        ({"GROOVE_OUTBOUND_ALLOW": "http://x"}, "GROOVE_OUTBOUND_ALLOW"),
        ({"GROOVE_EMAIL_VERIFICATION": "maybe"}, "must be one of mandatory, none"),
    ],
)
def test_production_refuses_unsafe_settings(change: dict[str, str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import webapp.config.settings as s; print(s.SIGNUP_OPEN)"],
        cwd=ROOT, env=os.environ | SAFE | {"MAIL_URL": ""} | change, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode == 0) == (words == "")
    assert words in done.stderr
    if not words:
        assert done.stdout.strip() == "False"  # without mail strangers cannot confirm an address


def test_the_broker_is_the_cache_where_it_can_be() -> None:
    assert cache.configure("redis://h:1/3")["LOCATION"] == "redis://h:1/3"
    assert cache.configure("redis+socket:///a/b?virtual_host=2")["LOCATION"] == "unix:///a/b?db=2"
    assert "db.DatabaseCache" in cache.configure("amqp://h")["BACKEND"]
    shared = CacheHandler({"default": cache.configure(settings.BROKER_URL)})["default"]
    assert shared.add("one", 1, 5)
    assert not shared.add("one", 1, 5)
    assert shared.get("one") == 1
    with pytest.raises(NotImplementedError):
        shared.clear()


def test_processes_count_attempts_together_whatever_a_client_says_of_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allowed = []
    for attempt in range(7):  # a new handler connects anew, as another process does
        shared = CacheHandler({"default": cache.configure(settings.BROKER_URL)})["default"]
        monkeypatch.setattr(ratelimit, "cache", shared)
        request = RequestFactory().post("/accounts/login/", HTTP_X_FORWARDED_FOR=f"10.0.0.{attempt}")
        usage = ratelimit.consume(request, app="allauth.account", action="login_failed", key=SECRET)
        allowed.append(usage is not None)
    assert allowed == [True] * 5 + [False] * 2


def test_people_sign_in_while_the_broker_is_down() -> None:
    gone = CacheHandler({"default": cache.configure(f"redis://127.0.0.1:{free_port()}/0")})["default"]
    assert gone.add("one", 1, 5)
    assert gone.get("one", []) == []
    gone.set("one", 1)
    assert not gone.delete("one")
    assert issubclass(redis.ConnectionError, redis.RedisError)


def test_links_with_tokens_are_not_logged() -> None:
    for path in (
        "/invitations/SECRET/",
        "/accounts/confirm-email/SECRET:x/",
        "/accounts/password/reset/key/1-SECRET/",
    ):
        assert "SECRET" not in redact(f"Not Found: {path}")
    record = logging.LogRecord(
        "uvicorn.access", 20, "", 0, '%s "%s %s"', ("a", "GET", "/invitations/SECRET/?x"), None
    )
    assert TokenFilter().filter(record)
    assert "SECRET" not in record.getMessage()
    assert redact("/t/acme/invitations/3/revoke/") == "/t/acme/invitations/…/revoke/"


def test_the_embedded_database_gives_the_site_no_superuser() -> None:
    with psycopg.connect(settings.DATABASE_URL) as connection:
        row = connection.execute(
            "select rolname, rolsuper, rolcreaterole, rolreplication from pg_roles"
            " where rolname = current_user"
        ).fetchone()
    assert row == (embedded.ROLE, False, False, False)
    refused = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with psycopg.connect(settings.DATABASE_URL) as connection, refused:
        connection.execute("copy (select 1) to program 'true'")
