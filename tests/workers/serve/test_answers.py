"""Streams, tool calls, log-probabilities and adapters, asked for by the unmodified ``openai`` client."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.workers.serve.conftest import ADAPTERS, QUESTION, Served, start_server
from workers.process import LIFELINE_CUT

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
ENDLESS = {
    "type": "json_schema",
    "json_schema": {"name": "endless", "schema": {"type": "string", "minLength": 4000}},
}
FIND: Any = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/City"}},
            "required": ["city"],
            "additionalProperties": False,
            "$defs": {"City": {"enum": ["Oslo", "Rome"]}},
        },
    },
}
WAIT: Any = {
    "type": "function",
    "function": {"name": "wait", "parameters": {"type": "object", "properties": {}}},
}


class Verdict(BaseModel):
    label: Literal["polite", "rude"]
    score: int


def stream(served: Served, **options: Any) -> list[Any]:
    asked = {"model": "starter", "messages": MESSAGES, "seed": 5, "max_tokens": 40, **options}
    return list(served.client.chat.completions.create(stream=True, **asked))


def join(chunks: list[Any], choice: int = 0) -> str:
    return "".join(
        each.delta.content or "" for chunk in chunks for each in chunk.choices if each.index == choice
    )


# --- streams ---------------------------------------------------------------------------------------


def test_a_stream_has_the_documented_shape_and_the_text_of_the_whole_answer(served):
    whole = served.ask(seed=5, max_tokens=40)
    chunks = stream(served, stream_options={"include_usage": True})
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    first, *middle, last, usage = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert all(chunk.choices[0].delta.content for chunk in middle)
    assert all(chunk.choices[0].finish_reason is None for chunk in [first, *middle])
    assert last.choices[0].delta.to_dict() == {}
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    assert (usage.choices, usage.usage) == ([], whole.usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert join(chunks) == whole.choices[0].message.content


def test_the_choices_of_a_stream_interleave(served):
    whole = served.ask(n=3, seed=5, temperature=1.5, max_tokens=20)
    chunks = stream(served, n=3, temperature=1.5, max_tokens=20)
    order = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].delta.content]
    assert order != sorted(order)
    for number, choice in enumerate(whole.choices):
        assert join(chunks, number) == choice.message.content


def test_a_stop_text_never_leaks_into_a_stream(served):
    text = served.ask(temperature=0, max_tokens=40).choices[0].message.content
    stop = text[6:12]
    chunks = stream(served, temperature=0, stop=[stop], logprobs=True)
    assert join(chunks) == text[:6]
    tokens = [token for c in chunks for e in c.choices if e.logprobs for token in e.logprobs.content]
    assert "".join(token.token for token in tokens).startswith(text[:6])
    assert stop not in "".join(token.token for token in tokens)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_bad_request_for_a_stream_is_a_plain_error(served):
    with pytest.raises(openai.BadRequestError) as caught:
        stream(served, messages=[{"role": "user", "content": "word " * 2000}])
    assert caught.value.code == "context_length_exceeded"


def test_whoever_leaves_a_stream_takes_its_rows_out_of_the_batch(served):
    opened = served.client.chat.completions.create(
        model="starter", messages=MESSAGES, stream=True, n=8, response_format=ENDLESS, max_tokens=900
    )
    next(iter(opened))
    assert served.health()["open_rows"] == 8
    opened.close()
    deadline = time.monotonic() + 5
    while served.health()["rows"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (served.health()["rows"], served.health()["open_rows"]) == (0, 0)


# --- log-probabilities and token ids ---------------------------------------------------------------


def test_log_probabilities_have_bytes_and_the_likeliest_tokens(served):
    answer = served.ask("Say ö", temperature=0, max_tokens=12, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    said = b"".join(bytes(token.bytes) for token in tokens)
    assert said.decode("utf-8", "replace") == answer.choices[0].message.content
    for token in tokens:
        assert [each.logprob for each in token.top_logprobs] == sorted(
            (each.logprob for each in token.top_logprobs), reverse=True
        )
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)  # temperature 0


def test_token_ids_come_with_both_log_probabilities_whole_and_in_a_stream(served):
    asked = {"temperature": 0.7, "top_p": 0.9, "extra_body": {"return_token_ids": True}}
    whole = served.ask(seed=5, max_tokens=40, **asked)
    choice = whole.choices[0]
    assert len(choice.token_ids) == whole.usage.completion_tokens
    assert len(whole.prompt_token_ids) == whole.usage.prompt_tokens
    assert all(sampled <= 0 for sampled in choice.logp_sampled)
    assert choice.logp_sampled != choice.logp_model
    chunks = stream(served, **asked)
    parts = [chunk.choices[0] for chunk in chunks]
    for name in ("token_ids", "logp_sampled", "logp_model"):
        pieces = [value for part in parts for value in getattr(part, name, None) or []]
        assert pieces == pytest.approx(getattr(choice, name), abs=1e-4)
    assert chunks[0].prompt_token_ids == whole.prompt_token_ids


def test_penalties_and_biases_change_an_answer(served):
    plain = served.ask(temperature=0, max_tokens=40, extra_body={"return_token_ids": True}).choices[0]
    banned = {str(plain.token_ids[0]): -100}
    biased = served.ask(
        temperature=0, max_tokens=40, logit_bias=banned, extra_body={"return_token_ids": True}
    )
    assert plain.token_ids[0] not in biased.choices[0].token_ids
    loop = {"logit_bias": {str(plain.token_ids[0]): 100}, "temperature": 0, "max_tokens": 60}
    looping, penalised = served.ask(**loop), served.ask(**loop, frequency_penalty=2)
    assert looping.usage.completion_tokens == 60
    assert penalised.choices[0].message.content != looping.choices[0].message.content


# --- structured output and tools -------------------------------------------------------------------


def test_structured_output_is_parsed_into_a_pydantic_model(served):
    answer = served.client.chat.completions.parse(
        model="starter", messages=MESSAGES, response_format=Verdict, temperature=1.5, seed=1, max_tokens=60
    )
    assert answer.choices[0].message.parsed.label in ("polite", "rude")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "find"}}])
def test_a_forced_tool_call_has_the_form_of_its_function(served, choice):
    tools = [FIND, WAIT] if choice == "required" else [WAIT, FIND]
    asked = served.ask(tools=tools, tool_choice=choice, temperature=1.5, seed=1, n=4, max_tokens=80)
    for answer in asked.choices:
        (call,) = answer.message.tool_calls
        arguments = json.loads(call.function.arguments)
        assert (answer.finish_reason, answer.message.content) == ("tool_calls", None)
        assert call.id.startswith("call_")
        assert call.function.name in ("find", "wait")
        if choice != "required":
            assert call.function.name == "find"
            assert arguments["city"] in ("Oslo", "Rome")


def test_a_streamed_tool_call_is_assembled_by_the_client(served):
    with served.client.chat.completions.stream(
        model="starter", messages=MESSAGES, tools=[FIND], tool_choice="required", max_tokens=80
    ) as opened:
        whole = opened.get_final_completion()
    (call,) = whole.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")
    assert whole.choices[0].finish_reason == "tool_calls"


def test_the_result_of_a_tool_is_part_of_the_conversation(served):
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Oslo"}'}}
    turns: Any = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "found"},
    ]
    short = served.ask(messages=MESSAGES, tools=[FIND], max_tokens=1)
    long = served.ask(messages=turns, tools=[FIND], max_tokens=1)
    assert long.usage.prompt_tokens > short.usage.prompt_tokens + 10


# --- adapters --------------------------------------------------------------------------------------


def load(served: Served, name: str, folder: Path, **options: Any) -> Any:
    return served.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder), **options})


def test_adapters_answer_under_their_names_with_their_hash(served, tuned):
    for number, folder in enumerate(tuned[:2]):
        load(served, f"ft:starter:{number}", folder, load_inplace=True)
    names = ["starter", "ft:starter:0", "ft:starter:1"]

    def ask(name: str) -> Any:
        return served.ask(model=name, temperature=0, max_tokens=20)

    alone = [ask(name).choices[0].message.content for name in names]
    with ThreadPoolExecutor(9) as pool:
        together = list(pool.map(ask, names * 3))
    assert [answer.choices[0].message.content for answer in together] == alone * 3
    assert len(set(alone)) == 3
    hashes = [hashlib.sha256((f / "adapter_model.safetensors").read_bytes()).hexdigest() for f in tuned]
    assert [answer.adapter_sha256 for answer in together] == ["", *hashes[:2]] * 3
    assert [answer.model for answer in together] == names * 3
    assert stream(served, model="ft:starter:1")[-1].adapter_sha256 == hashes[1]
    assert "ft:starter:1" in [model.id for model in served.client.models.list()]


def test_an_adapter_that_is_unloaded_in_use_finishes_its_answers(served, tuned):
    load(served, "leaving", tuned[0], load_inplace=True)
    opened = iter(
        served.client.chat.completions.create(
            model="leaving", messages=MESSAGES, stream=True, response_format=ENDLESS, max_tokens=100
        )
    )
    next(opened)
    served.post("/unload_lora_adapter", {"lora_name": "leaving"})
    with pytest.raises(openai.NotFoundError) as caught:
        served.ask(model="leaving")
    assert caught.value.code == "model_not_found"
    assert list(opened)[-1].choices[0].finish_reason == "length"


def test_loading_and_unloading_have_vllms_status_codes(served, tuned, tmp_path):
    load(served, "one", tuned[0], load_inplace=True)
    for path, body, status in [
        ("/load_lora_adapter", {"lora_name": "one", "lora_path": str(tuned[0])}, 400),
        ("/load_lora_adapter", {"lora_name": "two"}, 400),
        ("/load_lora_adapter", {"lora_name": "two", "lora_path": str(tmp_path / "absent")}, 404),
        ("/unload_lora_adapter", {"lora_name": "two"}, 404),
        ("/unload_lora_adapter", {}, 400),
    ]:
        with pytest.raises(openai.APIStatusError) as caught:
            served.post(path, body)
        assert caught.value.status_code == status, (path, body)
    served.post("/unload_lora_adapter", {"lora_name": "one"})


def test_more_adapters_than_the_bound_push_out_the_least_recently_used(served, tuned):
    for number, folder in enumerate(tuned):
        load(served, f"many-{number}", folder)
    assert served.health()["adapters"] == ADAPTERS
    with pytest.raises(openai.NotFoundError):
        served.ask(model="many-0")
    load(served, "many-0", tuned[0])


# --- the end of the server -------------------------------------------------------------------------


def test_the_server_ends_with_its_parent_and_every_open_request_with_an_error(tmp_path):
    with start_server(tmp_path) as server:
        failed = []

        def read(streamed: bool) -> None:
            try:
                opened: Any = server.ask(stream=streamed, response_format=ENDLESS, max_tokens=900)
                if streamed:
                    list(opened)
            except (openai.APIError, Exception) as error:  # a broken connection has several classes
                failed.append(error)

        threads = [threading.Thread(target=read, args=[number % 2 == 0]) for number in range(6)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while server.health()["rows"] < 6 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.close(server.lifeline)
        assert server.process.wait(timeout=5) == LIFELINE_CUT
        for thread in threads:
            thread.join(10)
        assert len(failed) == 6
