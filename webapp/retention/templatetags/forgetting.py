"""Forgetting as pages show it."""

from __future__ import annotations

from collections.abc import Mapping

from django import template

from webapp.retention import presenters as retention

register = template.Library()


@register.filter
def change(forgetting: Mapping[str, float | None] | None) -> dict[str, float | None] | None:
    """Forgetting as a change of the reward: below 0 for a loss."""
    return retention.change_of(forgetting) if forgetting else None
