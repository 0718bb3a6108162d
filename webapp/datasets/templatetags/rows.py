"""How rows' values are written on pages."""

from __future__ import annotations

import json
from typing import Any

from django import template

register = template.Library()


@register.filter
def value(field: Any) -> str:
    """Text as it is, everything else as JSON; templates escape it."""
    return field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)


@register.filter
def share_of(part: int, whole: int) -> str:
    """``part`` of ``whole`` in percent."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
