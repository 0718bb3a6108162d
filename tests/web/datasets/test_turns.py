"""Conversations on pages: turns by role for any chat template, with tools, always escaped."""

from __future__ import annotations

import pytest
from django.template import engines
from django_cotton.compiler_regex import CottonCompiler

from webapp.datasets.content.turns import build_turns, find_last_request, parse_prompt

TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Bern"}'}}
MESSAGES = [
    {"role": "system", "content": "Be <b>short</b>."},
    {"role": "user", "content": [{"type": "text", "text": "First"}, {"type": "image_url"}]},
    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "3 °C\nrain"},
    {"role": "user", "content": "And\ntomorrow?"},
]
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    "prompt",
    [
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nuser asks<|im_end|>\n<|im_start|>assistant\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user"
        "<|end_header_id|>\n\nuser asks<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|start|>system<|message|>S<|end|><|start|>user<|message|>user asks<|end|><|start|>assistant",
        "<|system|>\nS<|end|>\n<|user|>\nuser asks<|end|>\n<|assistant|>\n",
        "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>user asks<|im_end|>",
        "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nuser asks [/INST]",
    ],
)
def test_prompt_of_any_template_is_read_by_role(prompt: str) -> None:
    assert [(turn.role, turn.text) for turn in parse_prompt(prompt)] == [
        ("system", "S"),
        ("user", "user asks"),
    ]
    assert find_last_request(parse_prompt(prompt)) == "user asks"


def test_prompt_without_control_tokens_is_one_turn() -> None:
    assert [(turn.role, turn.text) for turn in parse_prompt("What is owed?")] == [("", "What is owed?")]


def test_lists_show_the_last_user_message_of_a_few_shot_prompt() -> None:
    shots = "".join(
        f"<start_of_turn>user\nQ{n}<end_of_turn>\n<start_of_turn>model\nA{n}<end_of_turn>\n" for n in "12"
    )
    assert (
        find_last_request(
            parse_prompt(f"<bos>{shots}<start_of_turn>user\nQ3<end_of_turn>\n<start_of_turn>model\n")
        )
        == "Q3"
    )
    assert find_last_request(build_turns(MESSAGES)) == "And\ntomorrow?"


def test_component_shows_roles_tools_parts_and_the_raw_prompt_escaped() -> None:
    source = CottonCompiler().process('<c-conversation :messages="m" :tools="t" :raw="p" />')
    template = engines["django"].from_string(source)
    page = template.render({"m": MESSAGES, "t": TOOLS, "p": "<|im_start|>user\n<i>hi</i><|im_end|>"})
    text = " ".join(page.split())
    parts = ("System", "Be &lt;b&gt;short", "First [image_url]", "<code>find</code>", "&quot;Bern&quot;")
    for part in (*parts, "<code>c1</code>", "1 tool offered", "Raw prompt", "&lt;i&gt;hi"):
        assert part in text, part
    assert "<b>" not in page
    assert "<i>" not in page
    assert text.index("Raw prompt") < text.index("im_start"), "control tokens stand in the raw prompt only"
