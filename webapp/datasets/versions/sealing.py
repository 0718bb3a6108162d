"""The seal of a version's test split.

Only owners can open it; every later result shows that.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from webapp.datasets.content.rows import Split
from webapp.datasets.models import DatasetVersion
from webapp.teams.models import User
from webapp.teams.services import record_event

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
        record_event(version.dataset.team, user, "opened test split", version)


def find_opened(team_id: int) -> QuerySet[DatasetVersion]:
    """The team's versions whose test split was opened, oldest opening first."""
    opened = DatasetVersion.objects.filter(dataset__team=team_id, test_opened_at__isnull=False)
    return opened.select_related("dataset__team", "test_opened_by").defer("report").order_by("test_opened_at")


def share_test_rows(tested: DatasetVersion, opened: DatasetVersion) -> bool:
    """True if opening one version's test split also showed test rows of another version.

    Versions of one dataset share them, since prompts keep their splits. So do equal files of two datasets.
    """
    own, seen = tested.files[TEST], opened.files[TEST]
    return bool(own["rows"]) and (tested.dataset_id == opened.dataset_id or own["sha256"] == seen["sha256"])
