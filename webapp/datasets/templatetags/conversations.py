"""Conversations as pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from webapp.datasets.content import turns as conversation_turns

register = template.Library()


@register.filter
def mark_control_tokens(prompt: str) -> SafeString:
    """A prompt exactly as the model reads it, its chat template's control tokens set back."""
    return format_html_join(
        "",
        "{}",
        (
            (format_html('<span class="control-token">{}</span>', part) if place % 2 else part,)
            for place, part in enumerate(conversation_turns.CONTROL_TOKEN.split(prompt))
        ),
    )


@register.filter
def turns(conversation: Sequence[Mapping[str, Any]] | str) -> list[conversation_turns.Turn]:
    """The turns of messages, or of a prompt as the model reads it."""
    if isinstance(conversation, str):
        return conversation_turns.parse_prompt(conversation)
    return conversation_turns.build_turns(conversation)


@register.filter
def tools(offered: Sequence[Mapping[str, Any]]) -> list[conversation_turns.Tool]:
    """The tools that a row offers, for pages."""
    return conversation_turns.list_tools(offered)


@register.filter
def request(conversation: Sequence[Mapping[str, Any]] | str) -> str:
    """What a user asked last in messages or in a prompt, in one line for lists."""
    return " ".join(conversation_turns.find_last_request(turns(conversation)).split())
