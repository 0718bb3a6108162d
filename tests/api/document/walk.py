"""Calls every operation of the OpenAPI document in this process, with generated requests and real ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.urls import URLPattern, URLResolver, get_resolver
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup

from tests.api.document.known_objects import Ids, Known

DOCUMENT = "/v1/openapi.json"
PARAMETER = re.compile(r"\{[^}]*\}")
CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")
MOST_CHARACTERS = 2000  # of a failure
NO_OPERATIONS = {"/v1/", DOCUMENT}
Check = Callable[[Case, Any], None]


def fill_path(path: str, known: Known) -> Ids:
    """Return the ids by parameter. Fails for a path whose objects the tests do not make."""
    ids = {}
    for match in PARAMETER.finditer(path):
        prefix = PARAMETER.sub("{}", path[: match.end()])
        assert prefix in known.paths, f"make an object for {prefix} in tests/api/document/known_objects.py"
        ids[match[0].strip("{}")] = known.paths[prefix]
    return ids


def insert_ids(value: Any, fields: Ids) -> Any:
    """Return a body with the ids in the fields that take them."""
    if isinstance(value, dict):
        return {name: fields.get(name) or insert_ids(each, fields) for name, each in value.items()}
    return [insert_ids(each, fields) for each in value] if isinstance(value, list) else value


@contextmanager
def keep_connection() -> Iterator[None]:
    """Keep the test's connection, which a request outside of Django's test client would close."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


def create_app() -> Callable[..., Any]:
    """Return the site as a WSGI application. Its callers have an address, as those of a server do."""
    site = get_wsgi_application()
    return lambda environ, start: site({"REMOTE_ADDR": "127.0.0.1"} | environ, start)


def load_operations(document: str = DOCUMENT) -> list[Any]:
    """Return the operations of the document of this process."""
    with keep_connection():
        schema = schemathesis.openapi.from_wsgi(document, create_app())
    return [result.ok() for result in schema.get_all_operations()]


def list_routes(prefix: str = "/v1/") -> set[str]:
    """Return the paths of all URLs below the prefix, as the document writes them."""
    return {path for path in _walk_routes(get_resolver(), "/") if path.startswith(prefix)} - NO_OPERATIONS


def _walk_routes(resolver: URLResolver, route: str) -> Iterator[str]:
    for each in resolver.url_patterns:
        path = route + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _walk_routes(each, path)
        elif isinstance(each, URLPattern) and "^" not in path:
            yield CONVERTER.sub(r"{\1}", path)


def call_operation(
    operation: Any,
    check: Check,
    secret: str,
    known: Known | None = None,
    *,
    cases: int,
    mode: GenerationMode = GenerationMode.POSITIVE,
) -> str:
    """Send generated requests and check each answer. Returns what failed first, or nothing.

    Each request is undone. ``known`` replaces generated ids.
    """
    ids = fill_path(operation.path, known) if known else {}

    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        if known:
            case.path_parameters |= ids
            case.body = insert_ids(case.body, known.fields)
        with keep_connection(), transaction.atomic():
            answer = case.call(headers={"Authorization": f"Bearer {secret}"})
            transaction.set_rollback(True)
        check(case, answer)

    try:
        send()
    except (Exception, FailureGroup) as error:  # a group is no Exception
        causes = getattr(error, "exceptions", [])  # of a group
        return "\n\n".join(map(str, (error, *causes)))[:MOST_CHARACTERS]
    return ""
