"""Labels of dataset versions in selects, distinct even for datasets of one name."""

from __future__ import annotations

from django.utils import timezone
from django.utils.formats import date_format

from webapp.datasets.models import DatasetVersion


def describe_version(version: DatasetVersion) -> str:
    """Return a label such as ``Invoices v2 (1,200 rows, 29 Nov 2026, 14:03)``."""
    created = date_format(timezone.localtime(version.created_at), "j M Y, H:i")
    return f"{version} ({version.rows:,} row{'s' * (version.rows != 1)}, {created})"
