"""Conversations as people read them: turns by role, from messages or from a prompt as a model reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# As the chat templates of ChatML, Llama 3, Phi, gpt-oss, Gemma, Mistral, DeepSeek and Command write them.
CONTROL_TOKEN = re.compile(
    r"(<\|[^\s<>|]{1,40}\|>|<｜[^<>｜]{1,40}｜>|</?s>|<bos>|<eos>|<(?:start|end)_of_turn>|\[/?INST\]|"
    r"<</?SYS>>)"
)
ROLES = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "chatbot": "assistant", "tool": "tool", "ipython": "tool",
    "observation": "tool", "function": "tool",
}  # fmt: skip
# Tokens after which the role is written as a word, and tokens that are a role by themselves.
BEFORE_ROLE = {"<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|start|>", "<|start_of_role|>"}
ROLE_TOKENS = {"[INST]": "user", "[/INST]": "assistant", "<<SYS>>": "system", "<</SYS>>": "user"}
_ROLE_WORD = re.compile(r"\s*([a-z]+)\s*")
_ROLE_IN_TOKEN = re.compile(r"<[|｜](?:start_of_turn_token|begin_of_)?[|]?([a-z]+)", re.IGNORECASE)


@dataclass(frozen=True)
class ToolCall:
    """A function that the assistant called; ``arguments`` is readable text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Tool:
    """A function that a prompt offers; ``parameters`` is its schema as indented JSON."""

    name: str
    description: str
    parameters: str


@dataclass(frozen=True)
class Turn:
    """One message. ``name`` says which tool or person spoke, where it is known."""

    role: str
    text: str
    name: str = ""
    thoughts: str = ""
    calls: tuple[ToolCall, ...] = ()


def build_turns(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The turns of a dataset row's messages."""
    return [
        Turn(
            role=str(message.get("role") or "user"),
            text=render_content(message.get("content")),
            name=str(message.get("name") or message.get("tool_call_id") or ""),
            thoughts=render_content(message.get("reasoning_content") or message.get("thinking")),
            calls=tuple(_read_calls(message)),
        )
        for message in messages
    ]


def render_content(content: Any) -> str:
    """A message's content as text; parts that are no text are named in brackets."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(map(_render_part, content))
    return json.dumps(content, ensure_ascii=False, indent=2)


def _render_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return f"[{part.get('type', 'part') if isinstance(part, dict) else 'part'}]"


def _read_calls(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function", call) if isinstance(call, dict) else {}
        if isinstance(function, dict):
            yield ToolCall(
                str(function.get("name") or "function"), _format_arguments(function.get("arguments"))
            )


def _format_arguments(value: Any) -> str:
    """Indented JSON, also of arguments that stand as JSON in a text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)


def list_tools(tools: Sequence[Mapping[str, Any]]) -> list[Tool]:
    """The tools of a dataset row, in OpenAI's shape or flat."""
    functions = [tool["function"] if isinstance(tool.get("function"), dict) else tool for tool in tools]
    return [
        Tool(
            str(function.get("name") or "function"),
            str(function.get("description") or ""),
            _format_arguments(function.get("parameters")),
        )
        for function in functions
    ]


def find_last_request(turns: Sequence[Turn]) -> str:
    """The last thing that a user said; where no user spoke, the last turn with a text."""
    said = [turn for turn in turns if turn.text.strip()]
    by_user = [turn for turn in said if turn.role == "user"]
    return next((turn.text.strip() for turn in reversed(by_user or said)), "")


# --- from the prompt as a model reads it -----------------------------------------------------------


def parse_prompt(prompt: str) -> list[Turn]:
    """The turns of a rendered prompt, as far as its control tokens tell them; else one turn without a role.

    Only for pages: the messages themselves are known from the dataset's row.
    """
    turns: list[Turn] = []
    for role, text in _split_prompt(prompt):
        if turns and turns[-1].role == role:
            text = f"{turns.pop().text}\n{text}"
        turns.append(Turn(role, text))
    return turns


def _split_prompt(prompt: str) -> Iterator[tuple[str, str]]:
    """(role, text), in order; texts without anything to read are left out."""
    role, expects_role = "", False
    for place, part in enumerate(CONTROL_TOKEN.split(prompt)):
        if place % 2:
            expects_role = part in BEFORE_ROLE
            role = _read_role(part) or role
            continue
        if expects_role and (word := _ROLE_WORD.match(part)) and word[1] in ROLES:
            role, part = ROLES[word[1]], part[word.end() :]
        if text := part.strip():
            yield role, text


def _read_role(token: str) -> str:
    """The role that a token such as ``<|user|>`` begins."""
    found = _ROLE_IN_TOKEN.match(token)
    return ROLE_TOKENS.get(token) or (ROLES.get(found[1].lower(), "") if found else "")
