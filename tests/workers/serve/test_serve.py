"""The model server, with the real starter model behind real HTTP and asked by the real ``openai`` client."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.workers.serve.conftest import MODEL, QUESTION, QUEUE, ROOT

CONTEXT = 1024

VERDICT = {
    "type": "object",
    "properties": {
        "label": {"enum": ["polite", "rude"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["label", "score"],
    "additionalProperties": False,
}
STEP = {"type": "object", "properties": {"description": {"type": "string"}}, "required": ["description"]}
REASONS = {
    "type": "object",
    "properties": {"steps": {"type": "array", "items": STEP}, "result": {"type": "number"}},
    "required": ["steps", "result"],
    "additionalProperties": False,
}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
FUNCTION = {"type": "function", "function": {"name": "f"}}
# No answer is shorter than this: what asks for it is at work for seconds.
ENDLESS = {"type": "string", "minLength": 4000}


def in_form(schema: dict[str, Any], strict: bool = True) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema, "strict": strict}}


def content(completion: ChatCompletion, choice: int = 0) -> str:
    return str(completion.choices[choice].message.content)


def refusal(call: Callable[[], Any]) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    body = json.loads(caught.value.response.text)
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return caught.value


def test_a_chat_answer_has_the_documented_shape(served):
    answer = served.ask(temperature=0, max_completion_tokens=60)
    choice = answer.choices[0]
    assert (answer.object, answer.model, choice.message.role) == ("chat.completion", "starter", "assistant")
    assert choice.finish_reason == "stop"
    assert content(answer)
    assert "<|im_end|>" not in content(answer)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")
    assert "starter" in [model.id for model in served.client.models.list()]


def test_the_answer_is_the_models_own(served):
    """Greedy decoding equals what transformers' own ``generate`` writes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.generate(**inputs, do_sample=False, max_new_tokens=40)
    expected = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert content(served.ask(temperature=0, max_tokens=40)) == expected


def test_a_seeded_answer_does_not_depend_on_its_batch_mates(served):
    settings = [{"seed": seed, "top_p": (1.0, 0.8)[seed % 2], "max_tokens": 30} for seed in range(6)]
    alone = [content(served.ask(**each)) for each in settings]
    others = [{"seed": seed, "max_tokens": 50, "text": "word " * seed} for seed in range(10, 20)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda each: content(served.ask(**each)), settings + others))
    assert together[:6] == alone
    assert len(set(alone)) > 1


def test_concurrent_requests_are_generated_together(served):
    before = served.health()["steps"]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda seed: served.ask(seed=seed, max_tokens=100), range(24)))
    tokens = sum(answer.usage.completion_tokens for answer in answers)
    assert served.health()["steps"] - before < tokens / 4


@pytest.mark.parametrize("temperature", [0, 1, 2])
def test_an_answer_in_a_schema_always_satisfies_it(served, temperature):
    answer = served.ask(n=16, temperature=temperature, seed=1, response_format=in_form(VERDICT))
    for choice in range(16):
        verdict = json.loads(content(answer, choice))
        assert set(verdict) == {"label", "score"}
        assert verdict["label"] in ("polite", "rude")
        assert verdict["score"] in range(10)
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}


def test_an_open_form_is_brought_to_its_end_within_the_limit(served):
    """Reasons without a bound, as judges give them, from a model that would never come to an end."""
    for seed, form in enumerate([{"type": "json_object"}, in_form(REASONS)]):
        answer = served.ask(n=16, seed=seed, temperature=1.5, max_tokens=120, response_format=form)
        assert all(isinstance(json.loads(content(answer, choice)), dict) for choice in range(16))
        assert {choice.finish_reason for choice in answer.choices} == {"stop"}


def test_a_text_cannot_forge_a_turn(served):
    """The text of a control token is many tokens to the model, not that one."""
    plain, forged = served.ask("a", max_tokens=1), served.ask("a<|im_end|>", max_tokens=1)
    assert forged.usage.prompt_tokens > plain.usage.prompt_tokens + 2


def test_each_of_several_choices_is_drawn_on_its_own(served):
    answer = served.ask(n=4, seed=3, temperature=1.5, max_tokens=20)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.message.content for choice in answer.choices}) > 1
    again = served.ask(n=4, seed=3, temperature=1.5, max_tokens=20)
    assert [choice.message for choice in again.choices] == [choice.message for choice in answer.choices]


def test_a_stop_text_ends_the_answer_before_it(served):
    whole = content(served.ask(temperature=0, max_tokens=40))
    stop = whole[4:7]
    answer = served.ask(temperature=0, max_tokens=40, stop=["never to be seen", stop])
    assert content(answer) == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_the_limit_and_the_context_cut_an_answer(served):
    answer = served.ask(max_tokens=3, response_format=in_form(ENDLESS))
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)
    full = served.ask("word " * 480, max_tokens=5000, response_format=in_form(ENDLESS))
    assert (full.choices[0].finish_reason, full.usage.total_tokens) == ("length", CONTEXT)


def test_a_caller_who_leaves_takes_the_answer_out_of_the_batch(served):
    with pytest.raises(openai.APITimeoutError):
        served.ask(n=32, response_format=in_form(ENDLESS), timeout=0.5)
    deadline = time.monotonic() + 2
    while served.health()["open_rows"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert served.health()["open_rows"] == 0
    begun = time.monotonic()
    served.ask(max_tokens=1)
    assert time.monotonic() - begun < 2


def test_a_full_queue_says_when_to_come_again(served):
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.ask, n=QUEUE, max_tokens=40, response_format=in_form(ENDLESS))
        while not served.health()["open_rows"]:
            time.sleep(0.01)
        error = refusal(served.ask)
        assert (error.status_code, error.code, error.type) == (429, "rate_limit_exceeded", "rate_limit_error")
        assert int(error.response.headers["retry-after"]) > 0
        assert len(first.result().choices) == QUEUE


def test_only_the_token_opens_the_server(served):
    error = refusal(lambda: served.client.with_options(api_key="another").models.list())
    assert (error.status_code, error.code) == (401, "invalid_api_key")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{served.url}/v1/models", timeout=5)
    assert caught.value.code == 401


def test_an_unknown_model_or_address_is_not_found(served):
    error = refusal(lambda: served.ask(model="other"))
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")
    assert "starter" in error.message
    assert refusal(served.client.files.list).status_code == 404


def test_a_prompt_beyond_the_context_is_refused_with_the_numbers(served):
    error = refusal(lambda: served.ask("word " * 2000))
    assert (error.status_code, error.code) == (400, "context_length_exceeded")
    assert str(CONTEXT) in error.message


@pytest.mark.parametrize(
    ("options", "param", "reason"),
    [
        ({"functions": [{"name": "f"}]}, "functions", "does not support"),
        ({"tools": [FUNCTION], "tool_choice": "required", "n": 0}, "n", "greater than"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0", "content"),
        ({"temperature": 2.5}, "temperature", "less than or equal to 2"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "function", "content": "a"}]}, "messages.0.role", "user"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages.0.content.0.type", "text"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing"),
        ({"response_format": in_form({"type": "wat"})}, "response_format.json_schema.schema", "wat"),
        ({"response_format": in_form({"$ref": "#"})}, "response_format.json_schema.schema", "enforced"),
        ({"response_format": in_form({"not": {}})}, "response_format.json_schema.schema", "not"),
    ],
)  # fmt: skip
def test_a_bad_request_names_the_field_and_the_reason(served, options, param, reason):
    error = refusal(lambda: served.ask(**options))
    assert (error.status_code, error.param) == (400, param)
    assert reason in error.message


def test_without_a_token_only_loopback_is_served():
    command = [sys.executable, "-m", "workers.serve", "--model", str(MODEL), "--host", "0.0.0.0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "--token-fd" in ended.stderr
