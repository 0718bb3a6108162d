"""Stored chat completions and feedback by the API, and by OpenAI's SDK."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionStoreMessage

from tests.api.conftest import Call, make_call, make_secret
from tests.web.interactions.records import keep, rows_as_text
from tests.web.interactions.test_recording import set_rules
from webapp.interactions.dataset_copies import make_dataset
from webapp.interactions.models import Feedback, Interaction
from webapp.keys.models import Scope
from webapp.teams.models import Team, User

STORED = "/chat/completions"


def test_a_stored_completion_is_what_the_sdk_expects(team: Team, call: Call) -> None:
    kept = keep(team, metadata={"workload": "invoice"})
    found = call("GET", f"{STORED}/{kept.uid}").json()
    parsed = ChatCompletion.model_validate(found, strict=True)
    assert (parsed.id, parsed.choices[0].message.content) == (kept.uid, "12 EUR")
    assert (found["metadata"], found["temperature"]) == ({"workload": "invoice"}, 0.7)
    assert (found["adapter_verified"], found["consent"]) == (True, "keep")


def test_the_list_pages_filters_and_keeps_its_order(team: Team, call: Call) -> None:
    kept = [keep(team, metadata={"n": str(number % 2)}).uid for number in range(5)]
    other = keep(team, model="other").uid

    def ids(query: str) -> list[str]:
        return [each["id"] for each in call("GET", f"{STORED}?{query}").json()["data"]]

    assert ids("") == [*kept, other]
    assert ids("order=desc&limit=2") == [other, kept[4]]
    assert ids(f"after={kept[1]}&limit=2") == kept[2:4]
    assert ids("model=other") == [other]
    assert ids("metadata[n]=1") == [kept[1], kept[3]]
    assert call("GET", f"{STORED}?after=nothing").json()["error"]["param"] == "after"


def test_the_messages_of_the_prompt_are_listed_with_ids(team: Team, call: Call) -> None:
    parts = [{"type": "text", "text": "What is due?"}]
    messages = [{"role": "system", "content": "Short."}, {"role": "user", "content": parts}]
    kept = keep(team, messages=messages)
    page = call("GET", f"{STORED}/{kept.uid}/messages").json()
    assert [each["content_parts"] for each in page["data"]] == [None, parts]
    assert page["data"][0]["content"] == "Short."
    second = call("GET", f"{STORED}/{kept.uid}/messages?after={page['first_id']}").json()
    assert [each["id"] for each in second["data"]] == [page["last_id"]]
    message = {"refusal": None, **page["data"][0], "role": "assistant"}  # the SDK knows this role only
    assert ChatCompletionStoreMessage.model_validate(message).id == page["first_id"]


def test_metadata_is_replaced_and_a_thumb_in_it_is_feedback(team: Team, call: Call) -> None:
    kept = keep(team, metadata={"a": "1"})
    body = {"metadata": {"feedback.thumb": "down", "mail": "ann@example.com"}}
    answer = call("POST", f"{STORED}/{kept.uid}", body)
    assert answer.json()["metadata"] == {"feedback.thumb": "down", "mail": "<EMAIL_1>"}
    assert [each.value for each in Feedback.objects.all()] == [False]
    wrong = call("POST", f"{STORED}/{kept.uid}", {"metadata": {"feedback.thumb": "sideways"}})
    assert wrong.json()["error"]["param"] == "metadata.feedback.thumb"


def test_consent_can_be_narrowed_and_never_widened(team: Team, call: Call) -> None:
    kept = keep(team, metadata={"consent": "train"})
    for consent, status in (("keep", 200), ("train", 400), ("none", 400)):
        answer = call("POST", f"{STORED}/{kept.uid}", {"metadata": {"consent": consent}})
        assert answer.status_code == status
    kept.refresh_from_db()
    assert kept.consent == "keep"


def test_a_deleted_completion_is_gone_with_its_feedback(team: Team, call: Call) -> None:
    kept = keep(team, prompt="about the eclipse")
    call("POST", "/feedback", {"inference_id": kept.uid, "metric_name": "comment", "value": "eclipse!"})
    answer = call("DELETE", f"{STORED}/{kept.uid}").json()
    assert answer == {"id": kept.uid, "object": "chat.completion.deleted", "deleted": True}
    assert call("GET", f"{STORED}/{kept.uid}").status_code == 404
    assert "eclipse" not in rows_as_text()


@pytest.mark.parametrize(
    ("metric", "value"), [("thumb", True), ("score", 3), ("comment", "ok"), ("demonstration", "13 EUR")]
)
def test_feedback_is_taken_under_both_names(
    team: Team, alice: User, call: Call, metric: str, value: Any
) -> None:
    set_rules(team, alice, metrics={"score": "float"})
    uid = keep(team).uid
    for name in ("inference_id", "completion_id"):
        body = {name: uid, "metric_name": metric, "value": value, "tags": {"app": "erp"}}
        answer = call("POST", "/feedback", body)
        assert answer.status_code == 200, answer.content
        feedback = Feedback.objects.get(uid=answer.json()["feedback_id"])
        assert (feedback.value, feedback.tags) == (value, {"app": "erp"})


def test_an_unknown_metric_is_answered_with_the_known_ones(team: Team, alice: User, call: Call) -> None:
    set_rules(team, alice, metrics={"score": "float"})
    body = {"inference_id": keep(team).uid, "metric_name": "likes", "value": True}
    error = call("POST", "/feedback", body).json()["error"]
    assert (error["param"], error["code"]) == ("metric_name", "unknown_metric")
    assert "thumb, score, comment, demonstration, edit" in error["message"]


def test_a_dry_run_checks_and_writes_nothing(team: Team, call: Call) -> None:
    body = {"inference_id": keep(team).uid, "metric_name": "thumb", "value": True, "dryrun": True}
    assert call("POST", "/feedback", body).json() == {"feedback_id": None}
    assert call("POST", "/feedback", body | {"value": "yes"}).status_code == 400
    assert not Feedback.objects.exists()


def test_an_episode_is_the_session_of_its_requests(team: Team, call: Call) -> None:
    keep(team, metadata={"session": "s-9"})
    body = {"episode_id": "s-9", "metric_name": "thumb", "value": True}
    assert call("POST", "/feedback", body).status_code == 200
    assert call("POST", "/feedback", body | {"episode_id": "s-10"}).status_code == 404
    assert call("POST", "/feedback", body | {"inference_id": "x"}).status_code == 400


def test_erasing_a_person_deletes_everything_and_names_datasets_with_copies(
    team: Team, alice: User, call: Call
) -> None:
    set_rules(team, alice, consent_rule="contract")
    kept = [keep(team, user="u-1", prompt=f"eclipse {number}") for number in range(12)]
    other = keep(team, user="u-2")
    call("POST", "/feedback", {"inference_id": kept[0].uid, "metric_name": "comment", "value": "eclipse"})
    made = make_dataset(team, alice, "Of interactions", Interaction.objects.all())
    answer = call("DELETE", f"/subjects/{kept[0].subject_hash}").json()
    assert (answer["interactions"], answer["dataset_versions"]) == (12, [made.version.uid])
    assert list(Interaction.objects.all()) == [other]
    assert "eclipse" not in rows_as_text()


def test_viewers_read_and_strangers_find_nothing(
    team: Team, call: Call, viewer_call: Call, stranger_call: Call
) -> None:
    kept = keep(team, user="u-1")
    one = f"{STORED}/{kept.uid}"
    assert viewer_call("GET", one).status_code == 200
    assert (
        viewer_call("DELETE", one).status_code
        == viewer_call("POST", one, {"metadata": {}}).status_code
        == 403
    )
    assert stranger_call("GET", STORED).json()["data"] == []
    for method, path, body in (
        ("GET", one, None),
        ("POST", one, {"metadata": {}}),
        ("DELETE", one, None),
        ("GET", f"{one}/messages", None),
        ("POST", "/feedback", {"inference_id": kept.uid, "metric_name": "thumb", "value": True}),
    ):
        assert stranger_call(method, path, body).status_code == 404
    assert stranger_call("DELETE", f"/subjects/{kept.subject_hash}").status_code == 404
    assert Interaction.objects.get() == kept


def test_feedback_needs_the_scope_of_inference(team: Team, alice: User) -> None:
    body = {"inference_id": keep(team).uid, "metric_name": "thumb", "value": True}
    for scope, status in ((Scope.INFERENCE, 200), (Scope.READ, 403)):
        assert make_call(make_secret(team, alice, scope))("POST", "/feedback", body).status_code == status


@pytest.mark.parametrize("path", ["/feedback", "/deployments"])
def test_text_that_cannot_be_stored_is_refused(call: Call, path: str) -> None:
    body = {"inference_id": "\x00", "metric_name": "\x00", "value": "\x00", "name": "\x00", "model": "\x00"}
    assert call("POST", path, body).status_code == 400
