"""Template filters of environments and episodes."""

from __future__ import annotations

from django import template

register = template.Library()
ENDINGS = {
    "finished": "The environment ended it.",
    "answered": "A message without a tool call ended it.",
    "turn_limit": "It reached the limit of turns.",
    "call_limit": "It reached the limit of tool calls.",
    "token_limit": "It reached the limit of tokens.",
    "session_lost": "The environment stopped; the episode has no reward.",
}


@register.filter
def ending(reason: str) -> str:
    """Return why an episode ended."""
    return ENDINGS.get(reason, reason)
