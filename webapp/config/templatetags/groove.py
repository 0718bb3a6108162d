"""How numbers, states and fields look on pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.forms import BoundField, CheckboxInput, FileInput, Select, Textarea
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from webapp.datasets import turns as conversation_turns
from webapp.graders import words
from webapp.graders.models import GraderVersion
from webapp.graders.references import RowReference
from webapp.jobs.states import State
from webapp.judges import services as judges
from webapp.retention import presenters as retention
from workers.contract.statistics import FEWEST_ROWS

register = template.Library()
ABSENT = "–"
SPARK_WIDTH, SPARK_HEIGHT = 96, 22
KINDS = {
    State.VALIDATING_FILES: "info",
    State.QUEUED: "info",
    State.RUNNING: "primary",
    State.PAUSED: "warning",
    State.SUCCEEDED: "success",
    State.FAILED: "error",
    State.CANCELLED: "",
}
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
def is_uncalibrated(version: GraderVersion) -> bool:
    """Whether a judge gives this version's rewards that nobody has held against people's labels."""
    return judges.is_uncalibrated(version)


@register.filter
def signed(value: float | str | None) -> str:
    """A difference with its sign."""
    return ABSENT if value is None or value == "" else f"{float(value):+.3f}".replace("-", "\N{MINUS SIGN}")


NO_INTERVAL = f"no interval below {FEWEST_ROWS} rows"


def _bounds(interval: Any) -> tuple[float | None, float | None]:
    """Both ends of ``contract.events.Interval`` or its JSON, or of an object that has them."""
    if isinstance(interval, Mapping):
        return interval["low"], interval["high"]
    return interval.low, interval.high


@register.filter
def bounds(interval: Any) -> str:
    """An interval's ends in brackets, or why there is none."""
    low, high = _bounds(interval)
    return f"({NO_INTERVAL})" if low is None else f"[{score(low)}, {score(high)}]"


@register.filter
def signed_bounds(interval: Any) -> str:
    """The same for a difference."""
    low, high = _bounds(interval)
    return f"({NO_INTERVAL})" if low is None else f"[{signed(low)}, {signed(high)}]"


@register.filter
def hint(interval: Any, level: float = 0.95) -> str:
    """An interval in words, with its level, or why there is none."""
    low, high = _bounds(interval)
    return (
        NO_INTERVAL.capitalize()
        if low is None
        else f"{percent(level)} interval {score(low)} to {score(high)}"
    )


@register.filter
def signed_hint(interval: Any, level: float = 0.95) -> str:
    """The same for a difference."""
    low, high = _bounds(interval)
    return (
        NO_INTERVAL.capitalize()
        if low is None
        else f"{percent(level)} interval {signed(low)} to {signed(high)}"
    )


@register.filter
def change(forgetting: Mapping[str, float | None] | None) -> dict[str, float | None] | None:
    """Forgetting as a change of the reward: below 0 for a loss."""
    return retention.change_of(forgetting) if forgetting else None


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
def state_label(state: str) -> str:
    """A job state in words."""
    return State(state).label


@register.filter
def state_kind(state: str) -> str:
    """The colour of a job state's badge."""
    return KINDS[State(state)]


@register.filter
def grader_kind(kind: str) -> str:
    """A kind of grader in words."""
    return words.KINDS.get(kind, kind)


@register.filter
def grading_error(error_class: str) -> str:
    """What went wrong in grading an answer, in words."""
    return words.ERRORS.get(error_class, error_class)


@register.filter
def pairs(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Its keys and values. In a template ``mapping.items`` would be the value of a key that is named so."""
    return list(mapping.items())


@register.filter
def rendered(prompt: str) -> SafeString:
    """A prompt exactly as the model reads it, its chat template's control tokens set back."""
    return format_html_join(
        "",
        "{}",
        (
            (format_html('<span class="control-token">{}</span>', part) if place % 2 else part,)
            for place, part in enumerate(conversation_turns.CONTROL_TOKEN.split(prompt))
        ),
    )


@register.filter
def turns(conversation: Sequence[Mapping[str, Any]] | str) -> list[conversation_turns.Turn]:
    """The turns of messages, or of a prompt as the model reads it."""
    if isinstance(conversation, str):
        return conversation_turns.turns_in(conversation)
    return conversation_turns.turns_of(conversation)


@register.filter
def tools(offered: Sequence[Mapping[str, Any]]) -> list[conversation_turns.Tool]:
    """The tools that a row offers, for pages."""
    return conversation_turns.tools_of(offered)


@register.filter
def request(conversation: Sequence[Mapping[str, Any]] | str) -> str:
    """What a user asked last in messages or in a prompt, in one line for lists."""
    return " ".join(conversation_turns.last_request(turns(conversation)).split())


@register.filter
def differs_from(reference: RowReference | None, answer: str) -> bool:
    """Whether a word difference between an answer and what was expected is worth showing."""
    return bool(reference) and reference.is_comparable(answer)  # type: ignore[union-attr]


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
def styled(field: BoundField) -> SafeString:
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
