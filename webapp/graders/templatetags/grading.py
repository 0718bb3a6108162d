"""Graders and grading as pages show them."""

from __future__ import annotations

from django import template

from webapp.graders import words
from webapp.graders.references import RowReference

register = template.Library()


@register.filter
def grader_kind(kind: str) -> str:
    """A kind of grader in words."""
    return words.KINDS.get(kind, kind)


@register.filter
def grading_error(error_class: str) -> str:
    """What went wrong in grading an answer, in words."""
    return words.ERRORS.get(error_class, error_class)


@register.filter
def differs_from(reference: RowReference | None, answer: str) -> bool:
    """Whether a word difference between an answer and what was expected is worth showing."""
    return bool(reference) and reference.is_comparable(answer)  # type: ignore[union-attr]
