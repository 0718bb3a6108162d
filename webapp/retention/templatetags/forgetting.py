"""Forgetting as pages show it."""

from __future__ import annotations

from django import template

from webapp.retention import presenters as retention
from workers.contract.events import Interval

register = template.Library()


@register.filter
def change(forgetting: Interval | None) -> Interval | None:
    """Forgetting as a change of the reward: below 0 for a loss."""
    return retention.change_of(forgetting) if forgetting else None
