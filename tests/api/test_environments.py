"""Environments by API: made, read with what a worker found, changed by versions, deleted."""

from __future__ import annotations

from tests.api.conftest import Call
from webapp.environments.models import EnvironmentVersion
from workers.bridge.environments import inspect_environment
from workers.environments.examples import list_examples

SOURCE = next(each.source for each in list_examples() if each.key == "number_guess")


def test_an_environment_is_made_inspected_versioned_and_deleted(call: Call) -> None:
    made = call("POST", "/environments", {"name": "Numbers", "source": SOURCE}).json()
    assert (made["object"], made["name"]) == ("environment", "Numbers")
    path = f"/environments/{made['id']}"
    assert call("GET", f"{path}/versions").json()["data"][0]["status"] == "queued"
    inspect_environment(EnvironmentVersion.objects.get().inspection.pk)
    (version,) = call("GET", f"{path}/versions").json()["data"]
    assert (version["id"], version["status"], version["error"]) == (made["version"], "finished", None)
    assert version["splits"] == {"train": 100, "validation": 25, "test": 25}
    assert {finding["kind"] for finding in version["findings"]} == {"success"}
    assert version["tools"][0]["function"]["name"] == "guess"
    second = {"source": SOURCE.replace("Correct.", "Yes."), "note": "Say yes"}
    assert call("POST", f"{path}/versions", second).json()["number"] == 2
    assert call("DELETE", path).json()["deleted"] is True
    assert call("GET", path).status_code == 404
    assert call("GET", "/environments").json()["data"] == []


def test_a_source_that_is_no_environment_is_refused_with_its_line(call: Call) -> None:
    answer = call("POST", "/environments", {"name": "Broken", "source": "x = 1\nclass X(:\n"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "source"
    assert "Line 2" in answer.json()["error"]["message"]
