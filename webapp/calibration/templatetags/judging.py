"""Template filters of judges."""

from __future__ import annotations

from django import template

from webapp.calibration import services as calibration
from webapp.graders.models import GraderVersion

register = template.Library()


@register.filter
def is_uncalibrated(version: GraderVersion) -> bool:
    """Return True if a judge without a valid card gives this version's rewards."""
    return calibration.is_uncalibrated(version)
