"""Numbers and form fields as pages show them."""

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
    """A reward or rate to three decimals; a dash where nothing was measured."""
    return ABSENT if value is None or value == "" else f"{float(value):.3f}"


@register.filter
def signed(value: float | str | None) -> str:
    """A difference with its sign."""
    return ABSENT if value is None or value == "" else f"{float(value):+.3f}".replace("-", "\N{MINUS SIGN}")


NO_INTERVAL = f"no interval below {FEWEST_ROWS} rows"


def _read_bounds(interval: Any) -> tuple[float | None, float | None]:
    """Both ends of ``contract.events.Interval`` or its JSON, or of an object that has them."""
    if isinstance(interval, Mapping):
        return interval["low"], interval["high"]
    return interval.low, interval.high


@register.filter
def bounds(interval: Any) -> str:
    """An interval's ends in brackets, or why there is none."""
    low, high = _read_bounds(interval)
    return f"({NO_INTERVAL})" if low is None else f"[{score(low)}, {score(high)}]"


@register.filter
def signed_bounds(interval: Any) -> str:
    """The same for a difference."""
    low, high = _read_bounds(interval)
    return f"({NO_INTERVAL})" if low is None else f"[{signed(low)}, {signed(high)}]"


@register.filter
def hint(interval: Any, level: float = 0.95) -> str:
    """An interval in words, with its level, or why there is none."""
    low, high = _read_bounds(interval)
    return (
        NO_INTERVAL.capitalize()
        if low is None
        else f"{percent(level)} interval {score(low)} to {score(high)}"
    )


@register.filter
def signed_hint(interval: Any, level: float = 0.95) -> str:
    """The same for a difference."""
    low, high = _read_bounds(interval)
    return (
        NO_INTERVAL.capitalize()
        if low is None
        else f"{percent(level)} interval {signed(low)} to {signed(high)}"
    )


@register.filter
def percent(value: float | str | None) -> str:
    """A share as whole percent."""
    return ABSENT if value is None or value == "" else f"{100 * float(value):.0f} %"


@register.filter
def number(value: float | str | None) -> str:
    """A measured number to three significant digits."""
    if value is None or value == "":
        return ABSENT
    text = f"{float(value):.3g}"
    return (f"{float(value):,.0f}" if "e+" in text else text).replace("-", "\N{MINUS SIGN}")


@register.filter
def seconds(value: float | str | None) -> str:
    """A span of time in words short enough for a table."""
    if value is None or value == "":
        return ABSENT
    total = round(float(value))
    hours, minutes = total // 3600, total % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {total % 60} s" if minutes else f"{total} s"


@register.filter
def pairs(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Its keys and values. In a template ``mapping.items`` would be the value of a key that is named so."""
    return list(mapping.items())


@register.filter
def polyline(values: Sequence[float]) -> str:
    """Points of a sparkline, scaled to its box."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span, last = (high - low) or 1.0, max(len(values) - 1, 1)
    points = (
        (place / last * SPARK_WIDTH, 1 + SPARK_HEIGHT * (1 - (value - low) / span))
        for place, value in enumerate(values)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


@register.filter
def render_field(field: BoundField) -> SafeString:
    """The field's widget in the site's style, tied to its help and errors."""
    widget = field.field.widget
    style = next((style for kind, style in CLASSES if isinstance(widget, kind)), "input w-full")
    attributes: dict[str, Any] = {"class": f"{style} {widget.attrs.get('class', '')}".strip()}
    if field.errors:
        attributes |= {"aria-invalid": "true", "aria-describedby": f"{field.id_for_label}_error"}
    elif field.help_text:
        attributes["aria-describedby"] = f"{field.id_for_label}_helptext"
    return field.as_widget(attrs=attributes)


@register.filter
def item(mapping: dict[str, Any], key: str) -> Any:
    """``mapping[key]``, or None."""
    return mapping.get(key)
