"""Settings from the environment: each is read as documented, or refused by its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from webapp.config import env
from webapp.config.redaction import redact

NAME = "GROOVE_TEST_SETTING"


@pytest.fixture
def given_text(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda text: monkeypatch.setenv(NAME, text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("12", 12), ("0012", 12), ("9" * 18, 10**18 - 1)])
def test_a_whole_number_is_read(given_text: Any, text: str, value: int) -> None:
    given_text(text)
    assert env.number(NAME, 5) == value


@pytest.mark.parametrize("text", ["-1", "1.5", "", " 3", "²", "٣", "1e3", "ten", "0x10", "9" * 5000])
def test_anything_but_a_whole_number_is_refused_by_name(given_text: Any, text: str) -> None:
    given_text(text)
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} is .*whole number of at least 0"):
        env.number(NAME, 5)


def test_a_number_below_the_least_is_refused(given_text: Any) -> None:
    given_text("2")
    with pytest.raises(ImproperlyConfigured, match="at least 3"):
        env.number(NAME, 30, at_least=3)


@pytest.mark.parametrize("text", ["1", "true", "Yes", "ON"])
def test_words_for_yes(given_text: Any, text: str) -> None:
    given_text(text)
    assert env.flag(NAME, False) is True


@pytest.mark.parametrize("text", ["0", "False", "no", "off", ""])
def test_words_for_no(given_text: Any, text: str) -> None:
    given_text(text)
    assert env.flag(NAME, True) is False


def test_a_word_that_is_neither_yes_nor_no_is_refused(given_text: Any) -> None:
    given_text("perhaps")
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} is 'perhaps'"):
        env.flag(NAME, False)


@pytest.mark.parametrize(("text", "value"), [("", None), ("0", 0.0), ("2", 2.0), ("2.50", 2.5)])
def test_a_price_may_be_absent_which_is_not_zero(given_text: Any, text: str, value: float | None) -> None:
    given_text(text)
    assert env.price(NAME) == value


@pytest.mark.parametrize("text", ["-1", "2,5", "2.5 €", "nan", "1e2", ".5"])
def test_a_price_in_another_form_is_refused(given_text: Any, text: str) -> None:
    given_text(text)
    with pytest.raises(ImproperlyConfigured, match="a number such as"):
        env.price(NAME)


def test_a_secret_may_come_from_a_mounted_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from the file\n")
    monkeypatch.setenv(NAME, "from the variable")
    assert env.text(NAME) == "from the variable"
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    assert env.text(NAME) == "from the file"


def test_a_mounted_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "gone"))
    with pytest.raises(ImproperlyConfigured, match=f"{NAME}_FILE names .*gone"):
        env.text(NAME)


def test_a_list_of_folders_is_absolute(given_text: Any, tmp_path: Path) -> None:
    given_text(f" {tmp_path}/a/../b , /srv ")
    assert env.folders(NAME, "") == [tmp_path / "b", Path("/srv")]
    given_text(f"{tmp_path},models")
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} names models"):
        env.folders(NAME, "")


def test_hosts_that_requests_may_reach_are_checked_at_the_start(given_text: Any) -> None:
    given_text("judge.internal, 10.0.0.0/8")
    assert env.outbound_allow(NAME) == ["judge.internal", "10.0.0.0/8"]
    assert os.environ[NAME] == "judge.internal,10.0.0.0/8"
    given_text("10.0.0.0/99")
    with pytest.raises(ImproperlyConfigured, match=NAME):
        env.outbound_allow(NAME)


def test_a_choice_lists_its_options(given_text: Any) -> None:
    given_text("medium")
    with pytest.raises(ImproperlyConfigured, match="must be one of high, low"):
        env.choice(NAME, "low", {"low", "high"})


# --- URLs of services ------------------------------------------------------------------------------


def test_a_database_url_is_taken_apart() -> None:
    found = env.database("postgresql://me%40home:p%2Fw@db.example:6543/groove2?sslmode=require")
    assert {key: found[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")} == {
        "NAME": "groove2", "USER": "me@home", "PASSWORD": "p/w", "HOST": "db.example", "PORT": "6543",
    }  # fmt: skip
    options: Any = found["OPTIONS"]
    assert options["sslmode"] == "require"
    assert options["connect_timeout"] == "10", "a vanished host is noticed"


def test_a_database_url_may_leave_out_what_is_usual() -> None:
    found = env.database("postgres://db.example")
    assert (found["NAME"], found["PORT"], found["USER"]) == ("groove", "", "")


@pytest.mark.parametrize(
    ("read", "url", "name"),
    [
        (env.database, "postgresql://db.example:port/groove", "DATABASE_URL"),
        (env.database, "postgresql://db.example:99999/groove", "DATABASE_URL"),
        (env.database, "postgresql://[::1/groove", "DATABASE_URL"),
        (env.database, "mysql://db.example/groove", "DATABASE_URL"),
        (env.mail, "smtp://mail.example:port", "MAIL_URL"),
        (env.mail, "smtp://[::1", "MAIL_URL"),
        (env.mail, "imap://mail.example", "MAIL_URL"),
        (env.mail, "smtp://", "MAIL_URL"),
        (env.storage, "/srv/files", "STORAGE_URL"),
        (env.storage, "s3://[bucket", "STORAGE_URL"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_by_the_name_of_its_setting(
    read: Any, url: str, name: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(url)


def test_an_error_about_a_url_shows_no_part_of_its_password() -> None:
    """A slash that is not written as %2F ends the host, so a part of the password reads like a port."""
    with pytest.raises(ImproperlyConfigured) as refused:
        env.database("postgresql://me:secret/word@db.example/groove")
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "port", "ssl", "tls"),
    [
        ("smtp://mail.example", 25, False, False),
        ("smtp://mail.example:587?tls=1", 587, False, True),
        ("smtps://mail.example", 465, True, False),
        ("smtps://mail.example:2465?tls=1", 2465, True, False),
    ],
)
def test_mail_is_encrypted_as_its_url_says(url: str, port: int, ssl: bool, tls: bool) -> None:
    found = env.mail(url)
    assert (found["EMAIL_PORT"], found["EMAIL_USE_SSL"], found["EMAIL_USE_TLS"]) == (port, ssl, tls)


def test_files_in_a_bucket_or_a_folder() -> None:
    s3: Any = env.storage("s3://bucket/some/prefix/?endpoint_url=https://s3.example")
    assert s3["OPTIONS"]["location"] == "some/prefix"
    assert s3["OPTIONS"]["endpoint_url"] == "https://s3.example"
    local: Any = env.storage("file:///srv/with%20space")
    assert local["OPTIONS"]["location"] == "/srv/with space"
    assert local["OPTIONS"]["file_permissions_mode"] == 0o600, "other users of the machine read nothing"


@given(st.from_regex(r"[a-z_]{1,20}", fullmatch=True))
def test_another_database_of_the_same_server(name: str) -> None:
    url = env.replace_database("postgresql://me:p%2Fw@db.example:6543/groove?sslmode=require", name)
    assert url == f"postgresql://me:p%2Fw@db.example:6543/{name}?sslmode=require"


# --- secrets -----------------------------------------------------------------------------------------


def test_the_secret_is_made_once_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "var" / "secret"
    first = env.secret(file)
    assert len(first) > 50
    assert env.secret(file) == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


TOKENS = st.from_regex(r"[A-Za-z0-9_:-]{20,40}", fullmatch=True)


@given(TOKENS, st.sampled_from(["", "/", "?next=/", " HTTP/1.1"]))
def test_no_token_of_a_link_stays_in_the_log(token: str, rest: str) -> None:
    for path in ("/invitations/", "/accounts/confirm-email/", "/accounts/password/reset/key/"):
        assert redact(f'GET "{path}{token}{rest}"').startswith(f'GET "{path}…')
        assert token not in redact(f'GET "{path}{token}{rest}"')
