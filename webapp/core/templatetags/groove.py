"""Template filters for numbers and form fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.forms import BoundField, CheckboxInput, FileInput, Select, Textarea
from django.utils.safestring import SafeString

from workers.contract.statistics import FEWEST_ROWS

register = template.Library()
ABSENT = "–"
SPARK_WIDTH, SPARK_HEIGHT = 96, 22
CLASSES: list[tuple[type, str]] = [
    (CheckboxInput, "checkbox"),
    (FileInput, "file-input w-full"),
    (Select, "select w-full"),
    (Textarea, "textarea w-full"),
]


@register.filter
def score(value: float | str | None) -> str:
    """Format a reward or rate with three decimals, or a dash."""
    return ABSENT if value is None or value == "" else f"{float(value):.3f}"


@register.filter
def signed(value: float | str | None) -> str:
    """Format a difference with its sign."""
    return ABSENT if value is None or value == "" else f"{float(value):+.3f}".replace("-", "\N{MINUS SIGN}")


NO_INTERVAL = f"no interval below {FEWEST_ROWS} rows"


def _read_bounds(interval: Any) -> tuple[float | None, float | None]:
    """Return both ends of an interval: an object with ``low`` and ``high``, or its JSON."""
    if isinstance(interval, Mapping):
        return interval["low"], interval["high"]
    return interval.low, interval.high


@register.filter
def bounds(interval: Any) -> str:
    """Format an interval in brackets, or the reason why there is none."""
    low, high = _read_bounds(interval)
    return f"({NO_INTERVAL})" if low is None else f"[{score(low)}, {score(high)}]"


@register.filter
def signed_bounds(interval: Any) -> str:
    """Format the interval of a difference."""
    low, high = _read_bounds(interval)
    return f"({NO_INTERVAL})" if low is None else f"[{signed(low)}, {signed(high)}]"


@register.filter
def hint(interval: Any, level: float = 0.95) -> str:
    """Format an interval in words with its level, or the reason why there is none."""
    low, high = _read_bounds(interval)
    return (
        NO_INTERVAL.capitalize()
        if low is None
        else f"{percent(level)} interval {score(low)} to {score(high)}"
    )


@register.filter
def signed_hint(interval: Any, level: float = 0.95) -> str:
    """Format the interval of a difference."""
    low, high = _read_bounds(interval)
    return (
        NO_INTERVAL.capitalize()
        if low is None
        else f"{percent(level)} interval {signed(low)} to {signed(high)}"
    )


@register.filter
def percent(value: float | str | None) -> str:
    """Format a share as whole percent."""
    return ABSENT if value is None or value == "" else f"{100 * float(value):.0f} %"


@register.filter
def number(value: float | str | None) -> str:
    """Format a number with three significant digits."""
    if value is None or value == "":
        return ABSENT
    text = f"{float(value):.3g}"
    return (f"{float(value):,.0f}" if "e+" in text else text).replace("-", "\N{MINUS SIGN}")


@register.filter
def seconds(value: float | str | None) -> str:
    """Format a duration for a table."""
    if value is None or value == "":
        return ABSENT
    total = round(float(value))
    hours, minutes = total // 3600, total % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {total % 60} s" if minutes else f"{total} s"


@register.filter
def pairs(mapping: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return keys and values.

    In a template ``mapping.items`` would look up the key ``items`` first.
    """
    return list(mapping.items())


@register.filter
def polyline(values: Sequence[float]) -> str:
    """Return the points of a sparkline, scaled to its box."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span, last = (high - low) or 1.0, max(len(values) - 1, 1)
    points = (
        (index / last * SPARK_WIDTH, 1 + SPARK_HEIGHT * (1 - (value - low) / span))
        for index, value in enumerate(values)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


@register.filter
def render_field(field: BoundField) -> SafeString:
    """Render the field's widget with the site's classes, linked to its help and errors."""
    widget = field.field.widget
    style = next((style for kind, style in CLASSES if isinstance(widget, kind)), "input w-full")
    attributes: dict[str, str | bool] = {"class": f"{style} {widget.attrs.get('class', '')}".strip()}
    if field.errors:
        attributes |= {"aria-invalid": "true", "aria-describedby": f"{field.id_for_label}_error"}
    elif field.help_text:
        attributes["aria-describedby"] = f"{field.id_for_label}_helptext"
    return field.as_widget(attrs=attributes)


@register.filter
def item(mapping: Mapping[str, object], key: str) -> object:
    """Return ``mapping[key]``, or None."""
    return mapping.get(key)
