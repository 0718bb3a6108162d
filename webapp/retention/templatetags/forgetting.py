"""Template filter of forgetting."""

from __future__ import annotations

from django import template

from webapp.retention import presenters as retention
from workers.contract.events import Interval

register = template.Library()


@register.filter
def change(forgetting: Interval | None) -> Interval | None:
    """Return forgetting as a change of the reward: below 0 for a loss."""
    return retention.to_change(forgetting) if forgetting else None
