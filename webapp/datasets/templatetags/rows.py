"""Template filters for values of rows."""

from __future__ import annotations

import json

from django import template

register = template.Library()


@register.filter
def value(field: object) -> str:
    """Return text as it is and everything else as JSON. Templates escape the result."""
    return field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)


@register.filter
def share_of(part: int, whole: int) -> str:
    """Return ``part`` of ``whole`` in percent."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
