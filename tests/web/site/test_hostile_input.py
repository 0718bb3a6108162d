"""Hostile paths, queries, headers and forms on every route never cause a 500."""

# ruff: noqa: F811 -- a fixture of another file
from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.core.signals import got_request_exception
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.web.site.test_tenancy import ADDRESSES, Objects, everything, objects  # noqa: F401
from webapp.core.input_checks import load_json, parse_whole_number
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
HALF = "\ud800".encode(errors="surrogatepass")
UNREADABLE = [b"a\x00b", b"\xff\xfe", HALF]
READABLE = [
    "²", "٣", "9" * 5000, "9" * 19, "2147483648", "-1", "1e999", "NaN", "[" * 20_000, '{"a": NaN}',
    '{"a": 1e999, "b": "\\ud800\\u0000"}',
    "../../etc/passwd", "a\r\nX-Injected: 1", "0001-01-01", "2026-02-30",
    "{{7*7}}", "'\"><script>", "-", "1-" + "9" * 4000, "ftjob-" + "x" * 300,
]  # fmt: skip
VALUES = [*UNREADABLE, *(value.encode() for value in READABLE)]
HEADERS = {
    "HTTP_LAST_EVENT_ID", "HTTP_UPLOAD_LENGTH", "HTTP_UPLOAD_OFFSET", "HTTP_UPLOAD_METADATA",
    "HTTP_HX_REQUEST",
    "HTTP_HX_CURRENT_URL", "HTTP_HX_TARGET", "HTTP_HX_TRIGGER", "HTTP_REFERER", "HTTP_RANGE", "HTTP_ACCEPT",
    "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_ORIGIN", "HTTP_X_CSRFTOKEN", "HTTP_ACCEPT_LANGUAGE",
    "HTTP_X_REQUESTED_WITH", "HTTP_X_FORWARDED_FOR",
}  # fmt: skip
MOST_REQUESTS = 250  # of each kind: the whole file takes less than a minute on one core


class Forms(HTMLParser):
    """Collect the POST forms of a page: action, and fields with their values."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self._fields: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._fields = {}
            if named.get("method") == "post":
                self.found.append((named.get("action", ""), self._fields))
        elif tag in {"input", "select", "textarea", "button"} and self._fields is not None:
            if named.get("name") and named["name"] != "csrfmiddlewaretoken":
                self._fields[named["name"]] = named.get("value", "")
        elif tag == "option" and self._fields and "selected" in named:
            self._fields[next(reversed(self._fields))] = named.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._fields = None


class Attacker:
    """Sends requests, rolls their changes back, and collects those that failed."""

    def __init__(self, client: Client) -> None:
        self._client, self.failed, self.requests = client, {}, 0
        client.raise_request_exception = False

    def send(self, method: str, path: str, **options: Any) -> Any:
        self.requests += 1
        with transaction.atomic():
            answer = self._client.generic(method, path, **options)
            transaction.set_rollback(True)
        if answer.status_code >= 500:
            told = options.get("QUERY_STRING") or options.get("data") or options
            self.failed[f"{method} {path[:90]} {str(told)[:120]}"] = self.reason
        return answer

    reason = ""

    def note(self, **_: Any) -> None:
        self.reason = traceback.format_exc().strip()[-400:]


@pytest.fixture
def attack(team: Team, alice: User, as_user: SignIn) -> Iterator[Attacker]:
    attacker = Attacker(as_user(alice))
    got_request_exception.connect(attacker.note)
    yield attacker
    got_request_exception.disconnect(attacker.note)


def site_paths(resolver: URLResolver | None = None, route: str = "/") -> Iterator[tuple[str, list[str]]]:
    """Yield routes outside of teams, with the names of their arguments."""
    for each in (resolver or get_resolver()).url_patterns:
        pattern = str(each.pattern).lstrip("^").rstrip("$")
        if isinstance(each, URLResolver):
            yield from site_paths(each, route + pattern)
        elif isinstance(each, URLPattern) and not (route + pattern).startswith("/t/<slug:team>/"):
            yield route + pattern, list(each.pattern.converters or each.pattern.regex.groupindex)


def sample(requests: list[Any]) -> list[Any]:
    """Return a fixed sample of the requests."""
    return random.Random(14).sample(requests, min(MOST_REQUESTS, len(requests)))


def query(name: str, value: bytes) -> str:
    return urlencode({name: value})


def pages(team: Team, objects: Objects) -> list[str]:
    known = [address.url(team.slug, objects) for address in ADDRESSES]
    return known + [path for path, arguments in site_paths() if not arguments]


def test_no_path_makes_the_site_fail(team: Team, objects: Objects, attack: Attacker) -> None:
    paths = []
    for address in ADDRESSES:
        url = address.url(team.slug, objects)
        known = objects[""] | objects[address.name.partition(":")[0]] | objects.get(address.name, {})
        for name in address.arguments:
            own = str(known[name]) if name != "team" else team.slug
            paths += [url.replace(f"/{own}", f"/{quote(value)}", 1) for value in VALUES if f"/{own}" in url]
            paths += [
                url.replace(f"/v{own}", f"/v{quote(value)}", 1) for value in VALUES if f"/v{own}" in url
            ]
    for route, arguments in site_paths():
        if arguments:
            head = route.partition("<")[0].partition("(")[0]
            paths += [f"{head}{quote(value)}/" for value in VALUES]
    for path in sample(paths):
        attack.send("GET", path)
    assert attack.failed == {}


def test_no_query_makes_the_site_fail(
    team: Team,
    objects: Objects,
    attack: Attacker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Try each value for each parameter that a page reads."""
    read: set[str] = set()

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def watch(self: QueryDict, key: str, *rest: Any, **named: Any) -> Any:
            read.add(key)
            return method(self, key, *rest, **named)

        return watch

    asked: list[tuple[str, str]] = []
    with monkeypatch.context() as patched:
        for name in ("get", "getlist", "__getitem__", "__contains__"):
            patched.setattr(QueryDict, name, watched(getattr(QueryDict, name)))
        for page in pages(team, objects):
            read.clear()
            attack.send("GET", page, QUERY_STRING="any=1")
            asked += [(page, query(name, value)) for name in sorted(read) for value in VALUES]
    assert len(asked) > 1000
    for page, text in sample(asked):
        attack.send("GET", page, QUERY_STRING=text)
    assert attack.failed == {}


def test_no_header_makes_the_site_fail(team: Team, objects: Objects, attack: Attacker) -> None:
    requests = [
        (method, page, name, value.decode("latin-1").replace("\r\n", " "))
        for page in pages(team, objects) for name in HEADERS for value in VALUES for method in ("GET", "POST")
    ]  # fmt: skip
    transfer = [each for each in pages(team, objects) if "/transfers/" in each]
    part = {"content_type": "application/offset+octet-stream", "data": b"x"}
    for page in transfer:
        for value in VALUES:
            text = value.decode("latin-1").replace("\r\n", " ")
            for method in ("PATCH", "POST", "HEAD"):
                attack.send(method, page, HTTP_UPLOAD_OFFSET=text, HTTP_UPLOAD_LENGTH=text, **part)
    metadata = "filename ²,name " + "AP8A"
    attack.send("POST", transfer[0], HTTP_UPLOAD_LENGTH="9", HTTP_UPLOAD_METADATA=metadata)
    for method, page, name, text in sample(requests)[: MOST_REQUESTS // 2]:
        attack.send(method, page, **{name: text})
    for charset in ("utf-16", "rot13", "hex", "idna", "²"):
        for kind in (
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
            "application/json",
        ):
            attack.send("POST", "/accounts/login/", data=b"a=b", content_type=f"{kind}; charset={charset}")
    for cookie in ('sessionid="\\000"', "sessionid=²", 'csrftoken="\\000"', 'messages="\\ud800"'):
        attack.send("GET", "/", HTTP_COOKIE=cookie)
    assert attack.failed == {}


def forms_of(attack: Attacker, urls: list[str]) -> dict[tuple[str, tuple[str, ...]], dict[str, str]]:
    """Collect each form on all pages once."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for url in urls:
        answer = attack.send("GET", url)
        if answer.status_code == 200 and answer.headers.get("Content-Type", "").startswith("text/html"):
            parser = Forms()
            parser.feed(answer.content.decode())
            for action, fields in parser.found:
                found[action or url, tuple(fields)] = fields
    return found


def test_no_form_makes_the_site_fail(team: Team, objects: Objects, attack: Attacker) -> None:
    """Try each value for each field of each form."""
    forms = forms_of(attack, pages(team, objects))
    assert len(forms) > 30
    attempts = []
    for (action, _), fields in forms.items():
        for name in fields:
            attempts += [(action, fields | {name: value}) for value in VALUES]
    kind = "application/x-www-form-urlencoded"
    for action, fields in sample(attempts):
        attack.send("POST", action, data=urlencode(fields), content_type=kind)
    assert attack.failed == {}


def test_a_refused_form_leaves_nothing_behind(
    team: Team,
    alice: User,
    objects: Objects,
    as_user: SignIn,
) -> None:
    """Unreadable text in any form gives 400 with the reason, urlencoded or multipart."""
    client = as_user(alice)
    urls = [address.url(team.slug, objects) for address in ADDRESSES if not address.name.endswith("stream")]
    before = everything()
    for url in urls:
        for value in UNREADABLE:
            data = urlencode({"name": value, "text": "ok"})
            answer = client.generic("POST", url, data=data, content_type="application/x-www-form-urlencoded")
            assert answer.status_code == 400, url
            assert b"cannot be read" in answer.content
        assert client.post(url, {"name": "a\x00b"}).status_code == 400
    assert everything() == before


def test_anonymous_requests_cause_no_failure(
    team: Team,
    objects: Objects,
    client: Client,
) -> None:
    attacker = Attacker(client)
    for page in pages(team, objects):
        for value in (b"\x00", HALF, b"9" * 5000):
            attacker.send("GET", page, QUERY_STRING=query("next", value))
    for path in ("/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"):
        for value in VALUES:
            for name in ("login", "password", "email", "password1", "next", "remember"):
                attacker.send(
                    "POST", path, data=urlencode({"login": "a@b.example", "password": "x", name: value}),
                    content_type="application/x-www-form-urlencoded",
                )  # fmt: skip
    assert attacker.failed == {}


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("0", 0), ("2147483647", 2147483647), ("2147483648", None), ("²", None), ("٣", None),
     ("-1", None),
     ("", None), (None, None), ("1.0", None), (" 1", None), ("9" * 5000, None)],
)  # fmt: skip
def test_a_whole_number_is_ascii_digits_within_its_bound(text: str | None, number: int | None) -> None:
    assert parse_whole_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        '{"a": 1e999}',
        '{"a": "\\u0000"}',
        '{"\\ud800": 1}',
        "9" * 5000,
        "[" * 100_000,
        "²",
        "",
    ],
)
def test_json_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        load_json(text)


def test_json_that_can_be_stored_is_read() -> None:
    assert load_json('{"a": [1, 0.5, "\\\\u0000 \U0001f600", null]}') == {
        "a": [1, 0.5, "\\u0000 \U0001f600", None]
    }
