"""Every path and method of the API: another team's key finds nothing and changes nothing.

A new route fails here until ``tests/api/document/known_objects.py`` knows its objects. This is intended.
"""

from __future__ import annotations

from typing import Any

import pytest
from schemathesis import Case

from tests.api.conftest import make_secret
from tests.api.document.known_objects import Known, create_objects
from tests.api.document.walk import call_operation, fill_path, list_routes, load_operations
from tests.web.site.test_tenancy import Objects, everything, objects  # noqa: F401 -- a fixture
from webapp.teams.models import Team, User

SAMPLE = "/v1/sample/openapi.json"
CASES = 3


@pytest.fixture
def known(team: Team, alice: User, objects: Objects, settings: Any) -> Known:  # noqa: F811
    settings.API_REQUESTS_PER_MINUTE = 10**6
    return create_objects(team, alice)


@pytest.fixture
def stranger(charlie: User) -> str:
    return make_secret(charlie.teams.get(), charlie)


def find_leaks(operations: list[Any], secret: str, known: Known) -> dict[str, str]:
    """Return the operations that answer with another team's objects, or not with 404 to its ids."""
    ids = {*known.paths.values(), *known.fields.values()}

    def check(case: Case, answer: Any) -> None:
        assert answer.status_code < 500, answer.status_code
        assert answer.status_code not in {401, 403, 405}, f"{answer.status_code}: the view was not reached"
        if case.path_parameters:
            allowed = {404} if case.method in ("GET", "DELETE") else {400, 404}
            assert answer.status_code in allowed, answer.status_code
        if answer.status_code < 400:
            shown = {each for each in ids if each in answer.text}
            assert not shown, shown

    found = {each.label: call_operation(each, check, secret, known, cases=CASES) for each in operations}
    return {label: failure for label, failure in found.items() if failure}


def find_missing(operations: list[Any], secret: str, known: Known) -> dict[str, str]:
    """Return the operations that do not show the objects to their own team."""

    def check(case: Case, answer: Any) -> None:
        assert answer.status_code < 400, answer.text

    shown = [each for each in operations if each.method == "get" and "{" in each.path]
    found = {each.label: call_operation(each, check, secret, known, cases=1) for each in shown}
    return {label: failure for label, failure in found.items() if failure}


def test_the_document_names_every_route(db: None) -> None:
    assert list_routes() == {operation.path for operation in load_operations()}


def test_objects_are_there_for_their_own_team(secret: str, known: Known) -> None:
    """Without this, a 404 below would prove nothing."""
    assert find_missing(load_operations(), secret, known) == {}


def test_another_team_finds_and_changes_nothing(stranger: str, known: Known) -> None:
    before = everything()
    assert find_leaks(load_operations(), stranger, known) == {}
    assert everything() == before


@pytest.mark.parametrize("path", ["/v1/unknown/{unknown_id}", "/v1/fine_tuning/jobs/{job_id}/unknown/{x}"])
def test_a_route_with_unknown_objects_is_noticed(known: Known, path: str) -> None:
    with pytest.raises(AssertionError, match="make an object for"):
        fill_path(path, known)


def test_a_leak_is_noticed(sample: list[str], stranger: str, secret: str, known: Known) -> None:
    job = known.paths["/v1/fine_tuning/jobs/{}"]
    known = Known({f"/v1/sample/{name}/{{}}": job for name in ("leak", "leaks")}, known.fields)
    operations = load_operations(SAMPLE)
    assert find_leaks(operations, stranger, known).keys() == {
        "GET /v1/sample/leak/{job_id}",
        "POST /v1/sample/leak/{job_id}",
        "GET /v1/sample/leaks",
        "POST /v1/sample/fail",
    }
    assert find_missing(operations, secret, known) == {}
