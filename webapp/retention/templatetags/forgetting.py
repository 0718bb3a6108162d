"""Template filter of forgetting."""

from __future__ import annotations

from collections.abc import Mapping

from django import template

from webapp.retention import presenters as retention

register = template.Library()


@register.filter
def change(forgetting: Mapping[str, float | None] | None) -> dict[str, float | None] | None:
    """Return forgetting as a change of the reward: below 0 for a loss."""
    return retention.to_change(forgetting) if forgetting else None
