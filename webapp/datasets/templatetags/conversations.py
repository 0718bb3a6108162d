"""Template filters for conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from webapp.datasets.content import turns as conversation_turns

register = template.Library()


@register.filter
def mark_control_tokens(prompt: str) -> SafeString:
    """Return a rendered prompt with its control tokens marked."""
    return format_html_join(
        "",
        "{}",
        (
            (format_html('<span class="control-token">{}</span>', part) if index % 2 else part,)
            for index, part in enumerate(conversation_turns.CONTROL_TOKEN.split(prompt))
        ),
    )


@register.filter
def turns(conversation: Sequence[Mapping[str, object]] | str) -> list[conversation_turns.Turn]:
    """Return the turns of messages, or of a rendered prompt."""
    if isinstance(conversation, str):
        return conversation_turns.parse_prompt(conversation)
    return conversation_turns.build_turns(conversation)


@register.filter
def tools(offered: Sequence[Mapping[str, object]]) -> list[conversation_turns.Tool]:
    """Return the tools of a row."""
    return conversation_turns.list_tools(offered)


@register.filter
def last_request(conversation: Sequence[Mapping[str, object]] | str) -> str:
    """Return the last text of a user on one line, from messages or a rendered prompt."""
    return " ".join(conversation_turns.find_last_request(turns(conversation)).split())
