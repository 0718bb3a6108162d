"""Evals by OpenAI's SDK: rows with samples, or a model's samples, graded by a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import openai
import pytest
from django.core.files.base import ContentFile
from django.db import connections
from django.utils import timezone
from openai import OpenAI

from tests.api.conftest import Call, make_call, make_secret
from tests.api.serving.model_server import Scripted, run_server
from tests.web.evals.runs import SAME
from tests.web.interactions.records import keep
from webapp.datasets.files.services import create_file
from webapp.evals.models import Eval, EvalRun
from webapp.evals.queues import EVAL_RUNS
from webapp.interactions import erasure
from webapp.keys.models import Scope
from webapp.registry.models import BaseModel
from webapp.registry.services import ensure_starter_model
from webapp.serving.gateway import threads
from webapp.serving.models import Usage
from webapp.teams.models import Team, User
from webapp.webhooks.models import WebhookEvent
from webapp.webhooks.services import create_endpoint
from workers.bridge.evals import run_eval

CLOSE = {
    "type": "text_similarity", "name": "close", "evaluation_metric": "fuzzy_match", "pass_threshold": 0.5,
    "input": "{{sample.output_text}}", "reference": "{{item.label}}",
}  # fmt: skip
CONFIG = {
    "type": "custom", "include_sample_schema": True,
    "item_schema": {
        "type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"],
    },
}  # fmt: skip
CITIES = [("Paris", "Paris"), ("Paris", "Pariss"), ("Oslo", "x")]
CONTENT = [{"item": {"label": label}, "sample": {"output_text": text}} for label, text in CITIES]
JSONL = {"type": "jsonl", "source": {"type": "file_content", "content": CONTENT}}
TEMPLATE = {"type": "template", "template": [{"role": "user", "content": "Say {{item.label}}"}]}
Sdk = Any  # bodies here are plain dicts, which the SDK's own types do not accept


def connect(call: Call) -> Sdk:
    """The SDK, whose requests Django's test client answers."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.raw_path.decode().removeprefix("/v1")
        response = call(request.method, path, body)
        return httpx2.Response(response.status_code, headers=dict(response.headers), content=response.content)

    client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return OpenAI(base_url="http://groove.test/v1", api_key="k", max_retries=0, http_client=client)


@pytest.fixture
def sdk(call: Call) -> Sdk:
    return connect(call)


@pytest.fixture
def capitals(sdk: Sdk) -> Any:
    return sdk.evals.create(name="Capitals", data_source_config=CONFIG, testing_criteria=[SAME, CLOSE])


def work(run: Any) -> None:
    """Run as a worker does."""
    run_eval(EvalRun.objects.get(uid=run.id).pk)


def test_an_eval_is_created_listed_changed_and_deleted(sdk: Sdk, capitals: Any) -> None:
    assert capitals.id.startswith("eval_")
    assert capitals.data_source_config.schema_["required"] == ["item", "sample"]
    assert capitals.testing_criteria[1].pass_threshold == 0.5
    second = sdk.evals.create(data_source_config=CONFIG, testing_criteria=[SAME], metadata={"team": "a"})
    assert [each.id for each in sdk.evals.list(limit=1)] == [capitals.id, second.id]
    changed = sdk.evals.update(second.id, name="Second")
    assert (changed.name, changed.metadata) == ("Second", {"team": "a"})
    assert sdk.evals.retrieve(second.id).name == "Second"
    deleted = sdk.evals.delete(second.id)
    assert (deleted.object, deleted.deleted, deleted.eval_id) == ("eval.deleted", True, second.id)
    with pytest.raises(openai.NotFoundError):
        sdk.evals.retrieve(second.id)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"data_source_config": {"type": "responses"}}, "data_source_config.type"),
        ({"data_source_config": {"type": "custom"}}, "data_source_config.item_schema"),
        ({"testing_criteria": [CLOSE | {"pass_threshold": None}]}, "testing_criteria.0.pass_threshold"),
        ({"testing_criteria": [SAME, SAME | {"input": "{{x.y}}", "name": "b"}]}, "testing_criteria.1.input"),
        ({"testing_criteria": [SAME, SAME]}, "testing_criteria.1.name"),
        ({"testing_criteria": [{"type": "multi", "name": "m", "calculate_output": "same",
                                "graders": {"same": SAME}}]}, "testing_criteria.0.type"),
    ],
)  # fmt: skip
def test_a_wrong_eval_is_refused_by_field(sdk: Sdk, changes: dict[str, Any], param: str) -> None:
    body = {"data_source_config": CONFIG, "testing_criteria": [SAME]} | changes
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.evals.create(**body)
    assert refused.value.param == param
    assert not Eval.objects.exists()


def test_rows_with_samples_are_graded_and_counted(sdk: Sdk, capitals: Any) -> None:
    run = sdk.evals.runs.create(capitals.id, name="first", data_source=JSONL)
    assert (run.status, run.object, run.error) == ("queued", "eval.run", None)
    assert len(run.data_source.source.content) == 3
    work(run)
    run = sdk.evals.runs.retrieve(run.id, eval_id=capitals.id)
    assert run.status == "completed"
    assert run.result_counts.model_dump() == {"total": 3, "passed": 1, "failed": 2, "errored": 0}
    assert [each.model_dump() for each in run.per_testing_criteria_results] == [
        {"testing_criteria": "same", "passed": 1, "failed": 2},
        {"testing_criteria": "close", "passed": 2, "failed": 1},
    ]
    items = list(sdk.evals.runs.output_items.list(run.id, eval_id=capitals.id, limit=2))
    assert [item.status for item in items] == ["pass", "fail", "fail"]
    failed = list(sdk.evals.runs.output_items.list(run.id, eval_id=capitals.id, status="fail"))
    assert [item.datasource_item_id for item in failed] == [2, 3]
    item = sdk.evals.runs.output_items.retrieve(failed[0].id, eval_id=capitals.id, run_id=run.id)
    assert item.datasource_item == {"label": "Paris"}
    assert item.sample.output[0].content == "Pariss"
    assert [(result.name, result.passed) for result in item.results] == [("same", False), ("close", True)]
    assert item.results[1].score > 0.8


def test_rows_come_from_a_file(sdk: Sdk, capitals: Any, team: Team, alice: User) -> None:
    lines = "\n".join(json.dumps(row) for row in CONTENT).encode()
    file = create_file(team, alice, "rows.jsonl", "evals", ContentFile(lines))
    source = {"type": "jsonl", "source": {"type": "file_id", "id": file.uid}}
    run = sdk.evals.runs.create(capitals.id, data_source=source)
    work(run)
    assert sdk.evals.runs.retrieve(run.id, eval_id=capitals.id).result_counts.passed == 1


def test_stored_completions_are_graded_by_their_metadata_and_vanish_with_them(
    sdk: Sdk, team: Team, charlie: User
) -> None:
    kept = keep(team, prompt="Capital of France?", text="Paris", metadata={"use": "geo", "label": "Paris"})
    wrong = keep(team, text="Rome", metadata={"use": "geo", "label": "Oslo"})
    keep(team, text="Rome", metadata={"use": "mail", "label": "Oslo"})
    keep(charlie.teams.get(), text="Rome", metadata={"use": "geo", "label": "Oslo"})
    config = {"type": "logs", "metadata": {"use": "geo"}}
    same = SAME | {"reference": "{{item.metadata.label}}"}
    found = sdk.evals.create(data_source_config=config, testing_criteria=[same])
    assert (found.data_source_config.type, found.data_source_config.metadata) == ("logs", {"use": "geo"})
    data_source = {"type": "completions", "source": {"type": "stored_completions", "limit": 10}}
    run = sdk.evals.runs.create(found.id, data_source=data_source)
    assert "Paris" not in str(EvalRun.objects.get().rows), "texts stay where erasure finds them"
    work(run)
    run = sdk.evals.runs.retrieve(run.id, eval_id=found.id)
    assert (run.result_counts.passed, run.result_counts.failed, run.result_counts.total) == (1, 1, 2)
    (passed,) = sdk.evals.runs.output_items.list(run.id, eval_id=found.id, status="pass")
    assert passed.datasource_item["input"] == [{"role": "user", "content": "Capital of France?"}]
    assert passed.datasource_item["id"] == kept.uid
    erasure.delete_interaction(kept, None)
    (left,) = sdk.evals.runs.output_items.list(run.id, eval_id=found.id)
    assert left.datasource_item["id"] == wrong.uid


def test_a_completion_that_was_deleted_before_its_row_was_graded_is_not_graded(sdk: Sdk, team: Team) -> None:
    kept = keep(team, metadata={"use": "geo"})
    found = sdk.evals.create(data_source_config={"type": "stored_completions"}, testing_criteria=[SAME])
    data_source = {
        "type": "completions",
        "source": {"type": "stored_completions", "metadata": {"use": "geo"}},
    }
    run = sdk.evals.runs.create(found.id, data_source=data_source)
    erasure.delete_interaction(kept, None)
    work(run)
    (item,) = sdk.evals.runs.output_items.list(run.id, eval_id=found.id)
    assert item.status == "error"
    assert "was deleted" in str(item.sample.error.message)


def test_a_row_of_a_file_reaches_no_stored_completion(
    sdk: Sdk, capitals: Any, team: Team, alice: User
) -> None:
    row = CONTENT[0] | {"interaction": keep(team).uid, "deleted": True}
    file = create_file(team, alice, "rows.jsonl", "evals", ContentFile(json.dumps(row).encode()))
    source = {"type": "jsonl", "source": {"type": "file_id", "id": file.uid}}
    run = sdk.evals.runs.create(capitals.id, data_source=source)
    work(run)
    (item,) = sdk.evals.runs.output_items.list(run.id, eval_id=capitals.id)
    assert (item.status, item.datasource_item) == ("pass", {"label": "Paris"})


@pytest.mark.parametrize(
    ("source", "selected"),
    [
        ({"model": "groove/starter"}, True),
        ({"model": "another"}, False),
        ({"created_after": 2**31}, True),
        ({"created_before": 2**31}, False),
    ],
)
def test_stored_completions_are_selected_by_model_and_time(
    sdk: Sdk, team: Team, source: dict[str, Any], selected: bool
) -> None:
    keep(team, created=timezone.now() + timedelta(days=365 * 20))
    found = sdk.evals.create(data_source_config={"type": "logs"}, testing_criteria=[SAME])
    data_source = {"type": "completions", "source": {"type": "stored_completions"} | source}
    if selected:
        sdk.evals.runs.create(found.id, data_source=data_source)
    else:
        with pytest.raises(openai.BadRequestError, match="No stored completion"):
            sdk.evals.runs.create(found.id, data_source=data_source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"type": "file_content", "content": []}, "from 1 to"),
        ({"type": "file_content", "content": [{"item": {}}]}, "no 'label'"),
        ({"type": "file_content", "content": [{"item": {"label": "x"}}]}, "no 'sample'"),
        ({"type": "file_id", "id": "file-unknown"}, "No such File"),
        ({"type": "responses"}, "does not support"),
        ({"type": "stored_completions"}, "no 'label'"),
    ],
)
def test_rows_that_the_eval_cannot_use_are_refused(
    sdk: Sdk, capitals: Any, source: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        sdk.evals.runs.create(capitals.id, data_source={"type": "jsonl", "source": source})
    assert not EvalRun.objects.exists()


# --- samples of a model ----------------------------------------------------------------------------


@pytest.fixture
def base(db: None) -> BaseModel:
    return ensure_starter_model()


@pytest.fixture
def server(base: BaseModel) -> Iterator[Scripted]:
    with run_server(base) as script:
        yield script


def ask(base: BaseModel, **changes: Any) -> dict[str, Any]:
    content = [{"item": {"label": "Hi"}}, {"item": {"label": "Bye"}}]
    source = {"type": "file_content", "content": content}
    asked = {"type": "completions", "source": source, "model": base.model_id, "input_messages": TEMPLATE}
    return asked | {"sampling_params": {"temperature": 0.5, "max_completion_tokens": 8}} | changes


def test_a_model_writes_the_samples(sdk: Sdk, capitals: Any, base: BaseModel, server: Scripted) -> None:
    run = sdk.evals.runs.create(capitals.id, data_source=ask(base))
    work(run)
    run = sdk.evals.runs.retrieve(run.id, eval_id=capitals.id)
    assert (run.status, run.result_counts.passed, run.result_counts.failed) == ("completed", 1, 1), run.error
    prompts = sorted(each["messages"][0]["content"] for each in server.asked)
    assert prompts == ["Say Bye", "Say Hi"]
    assert {(each["temperature"], each["max_completion_tokens"]) for each in server.asked} == {(0.5, 8)}
    (usage,) = run.per_model_usage
    assert (usage.run_model_name, usage.invocation_count, usage.total_tokens) == (base.model_id, 2, 22)
    sample = next(iter(sdk.evals.runs.output_items.list(run.id, eval_id=capitals.id))).sample
    assert (sample.model, sample.finish_reason, sample.temperature) == (base.model_id, "stop", 0.5)
    assert sample.input[0].content == "Say Hi"
    assert Usage.objects.get(key__name="test").requests == 2


def test_a_row_that_the_model_refuses_is_an_error_and_the_others_are_graded(
    sdk: Sdk, capitals: Any, base: BaseModel, server: Scripted
) -> None:
    messages = {"type": "item_reference", "item_reference": "item.chat"}
    chat = [{"role": "user", "content": "Say Hi"}]
    content = [{"item": {"label": "Hi", "chat": chat}}, {"item": {"label": "Hi"}}]
    source = {"type": "file_content", "content": content}
    run = sdk.evals.runs.create(capitals.id, data_source=ask(base, input_messages=messages, source=source))
    work(run)
    run = sdk.evals.runs.retrieve(run.id, eval_id=capitals.id)
    assert run.result_counts.model_dump() == {"total": 2, "passed": 1, "failed": 0, "errored": 1}
    wrong = list(sdk.evals.runs.output_items.list(run.id, eval_id=capitals.id))[1]
    assert (wrong.status, wrong.results, wrong.sample.error.code) == ("error", [], "invalid_input")


def test_a_run_fails_if_its_model_does_not_answer(
    sdk: Sdk, capitals: Any, base: BaseModel, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.evals import samples

    monkeypatch.setattr(samples, "WAIT_SECONDS", 0.0)
    server.status, server.body = 503, {"error": {"message": "It is loading."}}
    run = sdk.evals.runs.create(capitals.id, data_source=ask(base))
    work(run)
    run = sdk.evals.runs.retrieve(run.id, eval_id=capitals.id)
    assert (run.status, run.result_counts.total) == ("failed", 0)
    assert run.error.message.startswith("It is loading.")


@pytest.mark.django_db(transaction=True)
def test_the_use_of_a_model_is_counted_though_the_worker_has_an_event_loop_for_the_run_only(
    sdk: Sdk, capitals: Any, base: BaseModel, server: Scripted, settings: Any
) -> None:
    settings.SERVE_THREADS = 1
    try:
        work(sdk.evals.runs.create(capitals.id, data_source=ask(base)))
    finally:
        threads._threads.submit(connections.close_all).result()  # else the database cannot be dropped
    assert Usage.objects.get(key__name="test").requests == 2


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": None}, "data_source.model"),
        ({"input_messages": None}, "data_source.input_messages"),
        ({"input_messages": {"type": "template", "template": [{"role": "user", "content": "{{x.y}}"}]}},
         "data_source.input_messages"),
        ({"sampling_params": {"temperature": 9}}, "data_source.sampling_params.temperature"),
        ({"type": "responses"}, "data_source.type"),
    ],
)  # fmt: skip
def test_a_wrong_data_source_is_refused_by_field(
    sdk: Sdk, capitals: Any, base: BaseModel, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.evals.runs.create(capitals.id, data_source=ask(base, **changes))
    assert refused.value.param == param


def test_an_unknown_model_and_a_key_without_inference_are_refused(
    sdk: Sdk, capitals: Any, base: BaseModel, team: Team, alice: User
) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.evals.runs.create(capitals.id, data_source=ask(base, model="nobody"))
    assert unknown.value.code == "model_not_found"
    narrow = connect(make_call(make_secret(team, alice, Scope.READ, Scope.WRITE)))
    with pytest.raises(openai.PermissionDeniedError, match="inference"):
        narrow.evals.runs.create(capitals.id, data_source=ask(base))


# --- ends of runs ----------------------------------------------------------------------------------


def test_a_run_is_canceled_once_and_its_worker_changes_nothing(sdk: Sdk, capitals: Any) -> None:
    run = sdk.evals.runs.create(capitals.id, data_source=JSONL)
    claimed = EVAL_RUNS.claim(EvalRun.objects.get(uid=run.id).pk)
    assert claimed is not None
    assert sdk.evals.runs.cancel(run.id, eval_id=capitals.id).status == "canceled"
    assert not EVAL_RUNS.finish(claimed)
    with pytest.raises(openai.BadRequestError):
        sdk.evals.runs.cancel(run.id, eval_id=capitals.id)
    listed = sdk.evals.runs.list(capitals.id, status="canceled").data
    assert [(each.id, each.status) for each in listed] == [(run.id, "canceled")]
    assert sdk.evals.runs.list(capitals.id, status="failed").data == []
    assert sdk.evals.runs.delete(run.id, eval_id=capitals.id).deleted
    assert sdk.evals.runs.list(capitals.id).data == []


def test_webhooks_announce_how_a_run_ended(sdk: Sdk, capitals: Any, team: Team, alice: User) -> None:
    types = ["eval.run.succeeded", "eval.run.failed", "eval.run.canceled"]
    create_endpoint(team, alice, name="CI", url="https://hook.example/", event_types=types)
    done, canceled = (sdk.evals.runs.create(capitals.id, data_source=JSONL) for _ in range(2))
    work(done)
    sdk.evals.runs.cancel(canceled.id, eval_id=capitals.id)
    events = set(WebhookEvent.objects.values_list("type", "object_id"))
    assert events == {("eval.run.succeeded", done.id), ("eval.run.canceled", canceled.id)}


def test_a_second_attempt_goes_on_after_the_rows_that_are_stored(
    sdk: Sdk, capitals: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.bridge import evals

    monkeypatch.setattr(evals, "BATCH_ROWS", 2)
    run = EvalRun.objects.get(uid=sdk.evals.runs.create(capitals.id, data_source=JSONL).id)
    graded = evals._run_batch

    def crash_after_the_first(run: EvalRun, start: int, *more: Any) -> None:
        graded(run, start, *more)
        EVAL_RUNS.crash(run, "killed")

    monkeypatch.setattr(evals, "_run_batch", crash_after_the_first)
    run_eval(run.pk)
    monkeypatch.setattr(evals, "_run_batch", graded)
    run_eval(run.pk)
    run.refresh_from_db()
    assert (run.status, run.report.total) == ("completed", 3)
    assert list(run.items.values_list("number", flat=True)) == [1, 2, 3]


def test_a_viewer_reads_and_changes_nothing(viewer_call: Call, capitals: Any) -> None:
    viewer = connect(viewer_call)
    assert viewer.evals.retrieve(capitals.id).name == "Capitals"
    with pytest.raises(openai.PermissionDeniedError):
        viewer.evals.runs.create(capitals.id, data_source=JSONL)
