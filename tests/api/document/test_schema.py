"""Generated requests to every operation: no fault, and only answers that the OpenAPI document describes.

``GROOVE_SCHEMA_CASES`` sets the number of requests; ``make bench ONLY=api_schema`` sends 2,000.
"""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.document.known_objects import Known, create_objects
from tests.api.document.walk import call_operation, load_operations
from tests.web.site.test_tenancy import Objects, objects  # noqa: F401 -- a fixture
from webapp.teams.models import Team, User

CASES = int(os.environ.get("GROOVE_SCHEMA_CASES", "150"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SAMPLE = "/v1/sample/openapi.json"


def check_conformance(case: Case, answer: Any) -> None:
    case.validate_response(answer, checks=CHECKS)
    assert answer.headers["x-request-id"]


def find_violations(operations: list[Any], secret: str, known: Known, cases: int) -> dict[str, str]:
    """Return what fails, by operation: half with real ids, and half of all requests wrong on purpose."""
    share = math.ceil(cases / (4 * max(1, len(operations))))
    found = {}
    for operation in operations:
        for ids in (known, None):
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                failure = call_operation(operation, check_conformance, secret, ids, cases=share, mode=mode)
                if failure:
                    found[operation.label] = failure
    return found


@pytest.fixture
def known(team: Team, alice: User, objects: Objects, settings: Any) -> Known:  # noqa: F811
    settings.API_REQUESTS_PER_MINUTE = 10**6
    return create_objects(team, alice)


def test_every_answer_is_one_that_the_document_describes(secret: str, known: Known) -> None:
    assert find_violations(load_operations(), secret, known, CASES) == {}


def test_faults_and_answers_of_another_form_are_found(sample: list[str], secret: str, known: Known) -> None:
    operations = [each for each in load_operations(SAMPLE) if "/leak" not in each.path]
    found = find_violations(operations, secret, known, 80)
    assert found.keys() == {"POST /v1/sample/fail", "GET /v1/sample/lie"}
    assert "500" in found["POST /v1/sample/fail"]
