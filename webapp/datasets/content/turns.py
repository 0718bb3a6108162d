"""Turns of a conversation by role, for pages: from messages, or from a rendered prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Tokens in the chat templates of ChatML, Llama 3, Phi, gpt-oss, Gemma, Mistral, DeepSeek and Command.
CONTROL_TOKEN = re.compile(
    r"(<\|[^\s<>|]{1,40}\|>|<｜[^<>｜]{1,40}｜>|</?s>|<bos>|<eos>|<(?:start|end)_of_turn>|\[/?INST\]|"
    r"<</?SYS>>)"
)
ROLES = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "chatbot": "assistant", "tool": "tool", "ipython": "tool",
    "observation": "tool", "function": "tool",
}  # fmt: skip
# Tokens that a role's name follows, and tokens that stand for a role by themselves.
BEFORE_ROLE = {"<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|start|>", "<|start_of_role|>"}
ROLE_TOKENS = {"[INST]": "user", "[/INST]": "assistant", "<<SYS>>": "system", "<</SYS>>": "user"}
_ROLE_WORD = re.compile(r"\s*([a-z]+)\s*")
_ROLE_IN_TOKEN = re.compile(r"<[|｜](?:start_of_turn_token|begin_of_)?[|]?([a-z]+)", re.IGNORECASE)


@dataclass(frozen=True)
class ToolCall:
    """A function that the assistant called. ``arguments`` is indented JSON."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Tool:
    """A function that a prompt offers. ``parameters`` is its schema as indented JSON."""

    name: str
    description: str
    parameters: str


@dataclass(frozen=True)
class Turn:
    """One message. ``name`` is the tool or person who wrote it, if known."""

    role: str
    text: str
    name: str = ""
    thoughts: str = ""
    calls: tuple[ToolCall, ...] = ()


def build_turns(messages: Sequence[Mapping[str, object]]) -> list[Turn]:
    """Return the turns of a dataset row's messages."""
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


def render_content(content: object) -> str:
    """Return a message's content as text; other parts appear as their type in brackets."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(map(_render_part, content))
    return json.dumps(content, ensure_ascii=False, indent=2)


def _render_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return f"[{part.get('type', 'part') if isinstance(part, dict) else 'part'}]"


def _read_calls(message: Mapping[str, object]) -> Iterator[ToolCall]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function", call) if isinstance(call, dict) else {}
        if isinstance(function, dict):
            yield ToolCall(
                str(function.get("name") or "function"), _format_arguments(function.get("arguments"))
            )


def _format_arguments(value: object) -> str:
    """Return indented JSON; ``value`` may be JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)


def list_tools(tools: Sequence[Mapping[str, object]]) -> list[Tool]:
    """Return the tools of a dataset row, nested as OpenAI writes them or flat."""
    found = []
    for tool in tools:
        nested = tool.get("function")
        function: Mapping[str, object] = nested if isinstance(nested, dict) else tool
        found.append(
            Tool(
                str(function.get("name") or "function"),
                str(function.get("description") or ""),
                _format_arguments(function.get("parameters")),
            )
        )
    return found


def find_last_request(turns: Sequence[Turn]) -> str:
    """Return the last text of a user; without any, the last text of the conversation."""
    with_text = [turn for turn in turns if turn.text.strip()]
    by_user = [turn for turn in with_text if turn.role == "user"]
    return next((turn.text.strip() for turn in reversed(by_user or with_text)), "")


# --- from a rendered prompt ------------------------------------------------------------------------


def parse_prompt(prompt: str) -> list[Turn]:
    """Split a rendered prompt at its control tokens. Without any it is one turn without a role.

    This is a guess for pages; the exact messages are in the dataset's row.
    """
    turns: list[Turn] = []
    for role, text in _split_prompt(prompt):
        if turns and turns[-1].role == role:
            text = f"{turns.pop().text}\n{text}"
        turns.append(Turn(role, text))
    return turns


def _split_prompt(prompt: str) -> Iterator[tuple[str, str]]:
    """Yield (role, text) in order, without empty texts."""
    role, expects_role = "", False
    for index, part in enumerate(CONTROL_TOKEN.split(prompt)):
        if index % 2:  # re.split puts the tokens at odd positions
            expects_role = part in BEFORE_ROLE
            role = _read_role(part) or role
            continue
        if expects_role and (word := _ROLE_WORD.match(part)) and word[1] in ROLES:
            role, part = ROLES[word[1]], part[word.end() :]
        if text := part.strip():
            yield role, text


def _read_role(token: str) -> str:
    """Return the role that a token such as ``<|user|>`` starts, or an empty text."""
    found = _ROLE_IN_TOKEN.match(token)
    return ROLE_TOKENS.get(token) or (ROLES.get(found[1].lower(), "") if found else "")
