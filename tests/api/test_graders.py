"""Graders by API: definitions are checked at once, completions are graded in the sandbox of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from openai.types.fine_tuning.alpha import GraderRunResponse

from tests.api.conftest import Call, make_call, make_secret
from tests.api.jobs.bodies import SAME
from webapp.graders.models import GraderTrial
from webapp.teams.models import Team, User
from webapp.work.models import Node
from workers.bridge.graders.trials import run_trial

CLOSE = {
    "type": "text_similarity", "name": "close", "evaluation_metric": "fuzzy_match",
    "input": "{{sample.output_text}}", "reference": "{{item.label}}",
}  # fmt: skip
BOTH = {
    "type": "multi", "name": "both", "calculate_output": "0.5 * same + 0.5 * close",
    "graders": {"same": SAME, "close": CLOSE},
}  # fmt: skip


def test_a_valid_grader_is_returned_in_normal_form(call: Call) -> None:
    response = call("POST", "/fine_tuning/alpha/graders/validate", {"grader": SAME | {"operation": "neq"}})
    assert response.json() == {"grader": SAME | {"operation": "ne"}}


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        ({}, "grader.type"),
        ({"type": "python", "name": "p", "source": "def grade(:"}, "grader.source"),
        (SAME | {"input": "{{secret.x}}"}, "grader.input"),
        (BOTH | {"calculate_output": "same.x"}, "grader.calculate_output"),
        ({"type": "score_model", "name": "j", "model": "m", "input": [{"role": "user", "content": "?"}]},
         "grader.model"),
    ],
)  # fmt: skip
def test_a_wrong_grader_is_refused_by_field(call: Call, grader: dict[str, Any], param: str) -> None:
    for path, more in (("validate", {}), ("run", {"model_sample": "x"})):
        response = call("POST", f"/fine_tuning/alpha/graders/{path}", {"grader": grader, **more})
        assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.content


def test_without_a_worker_the_caller_is_told_to_come_back(call: Call) -> None:
    response = call("POST", "/fine_tuning/alpha/graders/run", {"grader": SAME, "model_sample": "x"})
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["error"]["type"] == "server_error"


@pytest.fixture
def run(transactional_db: None, team: Team, alice: User) -> Callable[..., GraderRunResponse]:
    """Run a grader, with this process's thread as its worker."""
    now = timezone.now()
    Node.objects.create(name="here", started_at=now, seen_at=now)
    call = make_call(make_secret(team, alice))

    def work() -> None:
        try:
            while not (found := GraderTrial.objects.filter(state="queued").first()):
                time.sleep(0.02)
            run_trial(found.pk)
        finally:
            connection.close()

    def run(grader: dict[str, Any], sample: str, item: Any = None) -> GraderRunResponse:
        worker = Thread(target=work, daemon=True)
        worker.start()
        body = {"grader": grader, "model_sample": sample} | ({"item": item} if item else {})
        response = call("POST", "/fine_tuning/alpha/graders/run", body)
        worker.join()
        assert response.status_code == 200, response.content
        assert not GraderTrial.objects.exists()
        return GraderRunResponse.model_validate(response.json(), strict=True)

    return run


def test_a_grader_runs_with_all_of_the_vendors_keys(run: Callable[..., GraderRunResponse]) -> None:
    result = run(BOTH, "Pari", {"label": "Paris"})
    assert 0.4 < result.reward < 0.5
    assert result.sub_rewards["same"] == 0.0
    assert (result.metadata.name, result.metadata.type) == ("both", "multi")
    errors = result.metadata.errors.model_dump()
    assert len(errors) == 14
    assert not any(errors.values())


def test_a_failure_while_grading_is_a_flag(run: Callable[..., GraderRunResponse]) -> None:
    failing = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 1 / 0"}
    errors = run(failing, "x").metadata.errors
    assert errors.python_grader_runtime_error
    assert "ZeroDivisionError" in str(errors.python_grader_runtime_error_details)
    result = run(SAME, "x")
    assert (result.reward, result.metadata.errors.invalid_variable_error) == (0.0, True)
