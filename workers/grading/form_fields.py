"""Form fields of a definition. ``static/js/grader_form.js`` draws a control for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Control = Literal[
    "input", "textarea", "select", "checkbox", "lines", "json", "messages", "field_scores", "parts"
]


@dataclass(frozen=True)
class FormField:
    """The field ``key`` of a definition. ``options`` belong to the control ``select``."""

    key: str
    label: str
    control: Control
    options: tuple[str, ...] = ()


INPUT = FormField("input", "Answer to grade", "textarea")
REFERENCE = FormField("reference", "Reference", "textarea")
MODEL = FormField("model", "Judge", "input")
PROMPT = FormField("input", "Prompt", "messages")
