"""Judges as pages show them."""

from __future__ import annotations

from django import template

from webapp.calibration import services as calibration
from webapp.graders.models import GraderVersion

register = template.Library()


@register.filter
def is_uncalibrated(version: GraderVersion) -> bool:
    """Whether a judge gives this version's rewards that nobody has held against people's labels."""
    return calibration.is_uncalibrated(version)
