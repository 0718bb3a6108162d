"""Requests about one file or one upload that come at once."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile

from tests.api.forms import write_rows
from tests.web.concurrency import run_at_once
from webapp.core.api.errors import ApiError
from webapp.datasets.files import uploads
from webapp.datasets.files.models import ApiFile, ApiUpload
from webapp.datasets.files.services import build_version, create_file
from webapp.datasets.models import DatasetVersion
from webapp.teams.models import Team, User

ROWS = write_rows(20)


@pytest.mark.django_db(transaction=True)
def test_two_jobs_at_once_share_the_version_of_their_file(team: Team, alice: User) -> None:
    file = create_file(team, alice, "a.jsonl", "fine-tune", ContentFile(ROWS))
    versions = run_at_once(*[lambda: build_version(team, alice, file, None, "a")] * 3)
    assert set(versions) == {DatasetVersion.objects.get()}


@pytest.mark.django_db(transaction=True)
def test_parts_may_arrive_at_once_and_one_completion_wins(team: Team, alice: User) -> None:
    upload = uploads.create_upload(
        team, alice, filename="a", purpose="evals", mime_type="text/plain", size=12, lifetime=None
    )
    parts = run_at_once(*[lambda: uploads.add_part(upload, ContentFile(b"abcd"))] * 3)
    uids = [getattr(part, "uid", "") for part in parts]
    ends = run_at_once(*[lambda: uploads.complete_upload(upload, alice, uids, None)] * 3)
    assert sorted(type(each).__name__ for each in ends) == ["ApiError", "ApiError", "ApiUpload"]
    assert ApiFile.objects.get() == ApiUpload.objects.get().file


def test_a_part_after_the_end_is_deleted(team: Team, alice: User) -> None:
    upload = uploads.create_upload(
        team, alice, filename="a", purpose="evals", mime_type="text/plain", size=4, lifetime=None
    )
    uploads.cancel_upload(ApiUpload.objects.get())
    late = uploads.ApiPart.objects.create(upload=upload, bytes=4, key="teams/0/parts/late")
    with pytest.raises(ApiError, match="cancelled"):
        uploads.add_part(ApiUpload.objects.get(), ContentFile(b"abcd"))
    uploads.expire_uploads()
    assert not uploads.ApiPart.objects.filter(pk=late.pk).exists()
