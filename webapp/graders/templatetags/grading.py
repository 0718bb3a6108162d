"""Template filters of graders and grading."""

from __future__ import annotations

from django import template

from webapp.graders.definitions.error_labels import ERROR_LABELS
from webapp.graders.definitions.references import RowReference
from workers import grading

register = template.Library()


@register.filter
def grader_kind(kind: str) -> str:
    """Return the label of a kind of grader."""
    return grading.KINDS[kind].label if kind in grading.KINDS else kind


@register.filter
def grading_error(error_class: str) -> str:
    """Return the label of a grading error."""
    return ERROR_LABELS.get(error_class, error_class)


@register.filter
def differs_from(reference: RowReference | None, answer: str) -> bool:
    """Return True if a word diff of an answer and the expected answer is worth showing."""
    return bool(reference) and reference.is_comparable(answer)  # type: ignore[union-attr]
