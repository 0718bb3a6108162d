"""Judges as pages show them."""

from __future__ import annotations

from django import template

from webapp.graders.models import GraderVersion
from webapp.judges import services as judges

register = template.Library()


@register.filter
def is_uncalibrated(version: GraderVersion) -> bool:
    """Whether a judge gives this version's rewards that nobody has held against people's labels."""
    return judges.is_uncalibrated(version)
