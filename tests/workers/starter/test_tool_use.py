"""The starter model that calls tools keeps what the documentation promises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer
from trl.chat_template_utils import is_chat_template_prefix_preserving, parse_response, supports_tool_calling

from workers.engine.prompts.rendering import Renderer
from workers.engine.prompts.tool_calls import find_format, parse_calls
from workers.environments.built_in.refund_desk import RefundDesk
from workers.starter.measure import load
from workers.starter.tool_use import measure, pretrain, transcripts

CALL = {"name": "issue_refund", "arguments": {"order_id": "O1047", "amount_cents": 10200}}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(pretrain.PINNED)


@given(st.integers(0, 2**32))
def test_a_transcript_follows_the_policy_in_a_case_that_no_task_has(seed: int) -> None:
    transcript = transcripts.draw_transcript(Random(seed), habitual=False)
    *turns, last = transcript.turns
    assert last == transcripts.AgentTurn(transcripts.DONE, None)
    assert turns[-1].result == "The case is closed."
    assert all(measure.read_call(turn.text) for turn in turns)
    assert max(
        task["seed"] for split in RefundDesk.list_splits() for task in RefundDesk.list_tasks(split)
    ) < (transcripts.FIRST_SEED)


@given(st.integers(0, 2**32))
def test_a_slip_is_read_and_corrected_but_not_learnt(seed: int) -> None:
    transcript = transcripts.draw_transcript(Random(seed), habitual=False, slips=1.0)
    (index,) = [number for number, turn in enumerate(transcript.turns) if turn.slip]
    slip, corrected = transcript.turns[index : index + 2]
    assert measure.read_call(slip.text) != measure.read_call(corrected.text)
    assert slip.result == transcripts.NO_CALL or slip.result.startswith("Error: ValueError: No order")


def test_the_template_shows_tools_calls_and_results_and_keeps_prefixes(tokenizer) -> None:
    assert supports_tool_calling(tokenizer)
    assert is_chat_template_prefix_preserving(tokenizer)
    prompt = Renderer(tokenizer).render([{"role": "user", "content": "Hello"}], pretrain.list_tools())
    assert "ask_customer(field: email|order_id|reason|opened)" in prompt


def test_trl_and_the_model_server_read_the_same_call(tokenizer) -> None:
    text = transcripts.write_call(CALL["name"], CALL["arguments"])
    prompt, ids = (tokenizer(part)["input_ids"] for part in ("<|im_start|>assistant\n", f"{text}<|im_end|>"))
    parsed = parse_response(tokenizer, ids, prefix=prompt)
    assert parsed["tool_calls"] == [{"type": "function", "function": CALL}]
    form = find_format(Renderer(tokenizer))
    assert form is not None
    inner = text.removeprefix(form.begin).removesuffix(form.end)
    (call,) = parse_calls(inner, form, pretrain.TOOLS)
    assert {"name": call.name, "arguments": json.loads(call.arguments)} == CALL


def test_training_and_playing_see_the_same_tokens(tokenizer) -> None:
    transcript = transcripts.draw_transcript(Random(1), habitual=False)
    messages = [{"role": "user", "content": transcript.message}]
    for turn in transcript.turns[:2]:
        messages += [{"role": "assistant", "content": turn.text}, {"role": "tool", "content": turn.result}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert pretrain._encode(tokenizer, transcript)[0][: len(rendered)] == rendered


def test_the_weights_fit_in_twelve_megabytes() -> None:
    assert sum(path.stat().st_size for path in pretrain.PINNED.iterdir()) <= 12e6


def test_the_committed_model_calls_tools_and_is_right_only_sometimes() -> None:
    torch.manual_seed(0)
    tokenizer, model = load(pretrain.PINNED)
    report = measure.measure(tokenizer, model, RefundDesk.list_tasks("test")[:24], samples=8)["all"]
    assert 0.15 <= report["mean_reward"] <= 0.5
    assert report["pass_at_8"] >= 0.6
    assert report["valid_calls"] >= 0.9


def test_pretraining_repeats_itself(tokenizer, tmp_path: Path) -> None:
    short = tuple(replace(phase, steps=2) for phase in pretrain.PHASES)
    for name in ("first", "second"):
        pretrain.pretrain(tmp_path / name, tokenizer, short)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second


def test_a_new_tokenizer_is_the_pinned_one(tokenizer) -> None:
    assert pretrain.build_tokenizer().get_vocab() == tokenizer.get_vocab()
