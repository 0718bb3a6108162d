"""The seal of a version's test split. Opening it is for owners, final, and shown with every later result."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from webapp.teams.models import Team, User
from webapp.teams.services import record

from .models import DatasetVersion
from .rows import Split

TEST = Split.TEST.label


def is_sealed(version: DatasetVersion, split: Split) -> bool:
    """True if nobody may see the rows of this split."""
    return split.sealed and version.test_opened_at is None


@transaction.atomic
def open_test_split(version: DatasetVersion, user: User) -> None:
    """Open the test split for good. Later calls change nothing."""
    opened = DatasetVersion.objects.filter(pk=version.pk, test_opened_at=None).update(
        test_opened_at=timezone.now(), test_opened_by=user
    )
    if opened:
        record(version.dataset.team, user, "opened test split", version)


def find_opened(team: Team, versions: Iterable[DatasetVersion], before: datetime) -> QuerySet[DatasetVersion]:
    """Versions opened before this time that share test rows with one of ``versions``, oldest opening first.

    Versions of one dataset share them, since prompts keep their splits; so do equal files of two datasets.
    """
    tested = [version for version in versions if version.files[TEST]["rows"]]
    shared = Q(dataset__in={version.dataset_id for version in tested}) | Q(
        files__test__sha256__in=[version.files[TEST]["sha256"] for version in tested]
    )
    opened = DatasetVersion.objects.filter(shared, dataset__team=team, test_opened_at__lt=before)
    return opened.select_related("dataset__team", "test_opened_by").order_by("test_opened_at")


def share_test_rows(one: DatasetVersion, other: DatasetVersion) -> bool:
    """True if the test splits of two versions of a team have rows in common, as in ``find_opened``."""
    first, second = one.files[TEST], other.files[TEST]
    return bool(first["rows"]) and (one.dataset_id == other.dataset_id or first["sha256"] == second["sha256"])
