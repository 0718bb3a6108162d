"""Files and uploads of the HTTP API."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored, SoftDeleted, SoftDeletedQuerySet
from webapp.teams.models import Team


class Purpose(models.TextChoices):
    """What a file is for. Callers send every kind but results."""

    ASSISTANTS = "assistants"
    BATCH = "batch"
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"
    RESULTS = "fine-tune-results"


class ApiFileQuerySet(SoftDeletedQuerySet["ApiFile"]):
    def available(self) -> Self:
        """Return the files that callers see: not deleted, not expired, and of no deleted dataset."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.alive().filter(unexpired, version__dataset__deleted_at=None)


class ApiFile(Authored, SoftDeleted):
    """A complete file: stored bytes, or one split of a dataset version in OpenAI's format.

    A file that can be named is whole and checked, so its status is always ``processed``.
    """

    class Status(models.TextChoices):
        UPLOADED = "uploaded"
        PROCESSED = "processed"
        ERROR = "error"

    uid = PublicIdField("file-")
    team = models.ForeignKey(Team, models.CASCADE, related_name="api_files")
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, help_text="of the stored bytes, or of the split's own file")
    rows = models.PositiveIntegerField(null=True, help_text="of a file for training")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PROCESSED)
    status_details = models.TextField(blank=True)
    expires_at = models.DateTimeField(null=True)
    key = models.CharField(max_length=255, blank=True, help_text="of the bytes in storage, while they exist")
    version = models.ForeignKey(
        "datasets.DatasetVersion",
        models.CASCADE,
        null=True,
        related_name="api_files",
        help_text="whose split this is",
    )
    split = models.CharField(max_length=10, blank=True)

    objects: ClassVar = ApiFileQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.filename


class ApiUpload(Authored):
    """A file that arrives in parts. It becomes an ``ApiFile`` when the caller completes it in time."""

    class Status(models.TextChoices):
        PENDING = "pending"
        COMPLETED = "completed"
        CANCELLED = "cancelled"
        EXPIRED = "expired"

    uid = PublicIdField("upload_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="api_uploads")
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    mime_type = models.CharField(max_length=255)
    bytes = models.BigIntegerField(help_text="of the whole file")
    lifetime = models.PositiveIntegerField(null=True, help_text="of the file, in seconds")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    expires_at = models.DateTimeField()
    file = models.OneToOneField(ApiFile, models.CASCADE, null=True, related_name="+")

    def __str__(self) -> str:
        return self.filename

    @property
    def has_expired(self) -> bool:
        """True if nobody completed it in time."""
        late = self.status == self.Status.PENDING and self.expires_at <= timezone.now()
        return late or self.status == self.Status.EXPIRED


class ApiPart(models.Model):
    """Some bytes of an upload. The caller orders the parts at the end."""

    uid = PublicIdField("part_")
    upload = models.ForeignKey(ApiUpload, models.CASCADE, related_name="parts")
    bytes = models.BigIntegerField()
    key = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return str(self.uid)
