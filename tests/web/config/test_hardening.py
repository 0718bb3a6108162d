"""Production refuses unsafe settings; attempts are counted across processes; tokens stay out of logs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import psycopg
import pytest
import redis
from django.conf import settings
from django.core.cache import CacheHandler

from tests.conftest import ROOT, free_port
from webapp.config import cache
from webapp.config.processes import embedded
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


def test_the_broker_is_the_cache_if_it_is_redis_or_valkey() -> None:
    assert cache.configure("redis://h:1/3")["LOCATION"] == "redis://h:1/3"
    assert cache.configure("redis+socket:///a/b?virtual_host=2")["LOCATION"] == "unix:///a/b?db=2"
    assert "db.DatabaseCache" in cache.configure("amqp://h")["BACKEND"]
    shared = CacheHandler({"default": cache.configure(settings.BROKER_URL)})["default"]
    assert shared.add("one", 1, 5)
    assert not shared.add("one", 1, 5)
    assert shared.get("one") == 1
    with pytest.raises(NotImplementedError):
        shared.clear()


SIGN_IN = """
import json, sys
import django
django.setup()
from django.test import Client
refused = []
for email, client, headers in json.load(sys.stdin):
    fields = {"login": email, "password": "wrong"}
    page = Client(REMOTE_ADDR=client).post("/accounts/login/", fields, headers=headers)
    refused.append("Too many failed login attempts" in page.text)
print(json.dumps(refused))
"""
Attempt = tuple[str, str, dict[str, str]]
BY_HOST = [("susan@example.com", f"192.0.2.{n}", {"host": f"localhost:{8000 + n}"}) for n in range(6)]
BY_CLIENT = [(f"{n}@example.com", "192.0.4.1", {"x-forwarded-for": f"10.0.0.{n}"}) for n in range(12)]


@pytest.mark.parametrize(
    ("attempts", "limit"),
    [(BY_HOST, 5), (BY_CLIENT, 10)],
    ids=["one account", "one client"],
)
def test_two_processes_count_failed_sign_ins_together(
    site_env: dict[str, str], attempts: list[Attempt], limit: int
) -> None:
    """They count per account for any Host header, and per client for any forwarded address."""
    refused: list[bool] = []
    for part in (attempts[::2], attempts[1::2]):
        done = subprocess.run(
            [sys.executable, "-c", SIGN_IN], input=json.dumps(part), cwd=ROOT, env=site_env,
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        refused += json.loads(done.stdout)
    assert refused == [False] * limit + [True] * (len(attempts) - limit)


def test_users_can_sign_in_while_the_broker_is_down() -> None:
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


def test_the_site_is_no_superuser_of_the_embedded_database() -> None:
    with psycopg.connect(settings.DATABASE_URL) as connection:
        row = connection.execute(
            "select rolname, rolsuper, rolcreaterole, rolreplication from pg_roles"
            " where rolname = current_user"
        ).fetchone()
    assert row == (embedded.ROLE, False, False, False)
    refused = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with psycopg.connect(settings.DATABASE_URL) as connection, refused:
        connection.execute("copy (select 1) to program 'true'")
