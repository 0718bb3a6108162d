"""Datasets, their immutable versions, and the uploads and imports that become versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.urls import reverse

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored, SoftDeleted
from webapp.datasets.files.models import ApiFile
from webapp.teams.models import Team, User
from webapp.work.models import WorkItem

if TYPE_CHECKING:
    from webapp.datasets.reports import SplitFile, UploadReport, VersionReport
    from workers.contract.json_types import JsonObject


class Dataset(Authored, SoftDeleted):
    """A named series of versions."""

    uid = PublicIdField("ds_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=120)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("datasets:detail", args=[self.team.slug, self.uid])


class Upload(Authored):
    """A checked file that is not a version yet. It is deleted if nobody commits it in time."""

    class State(models.TextChoices):
        CHECKED = "checked"
        REFUSED = "refused"
        COMMITTED = "committed"

    uid = PublicIdField("upload_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="uploads")
    dataset = models.ForeignKey(Dataset, models.CASCADE, null=True, blank=True, related_name="uploads")
    name = models.CharField(max_length=120, help_text="name of a new dataset")
    filename = models.CharField(max_length=255)
    file = models.CharField(max_length=255, help_text="storage key of the original bytes")
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State.choices)
    options: models.JSONField[JsonObject, JsonObject] = models.JSONField(
        default=dict, help_text="prompt column, columns left out, shares"
    )
    report: models.JSONField[UploadReport, UploadReport] = models.JSONField(
        default=dict, help_text="counts, errors by line, duplicates, overlap, first rows"
    )

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("datasets:upload", args=[self.team.slug, self.uid])


class Transfer(models.Model):
    """A file that arrives in parts. It becomes an upload when it is complete."""

    uid = PublicIdField("transfer_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="transfers")
    dataset = models.ForeignKey(Dataset, models.CASCADE, null=True, blank=True, related_name="transfers")
    name = models.CharField(max_length=120, blank=True, help_text="name of a new dataset")
    filename = models.CharField(max_length=255)
    bytes = models.BigIntegerField(help_text="of the whole file")
    received = models.BigIntegerField(default=0, help_text="bytes that are stored")
    parts: models.JSONField[list[str], list[str]] = models.JSONField(
        default=list, help_text="storage keys, in order"
    )
    options: models.JSONField[JsonObject, JsonObject] = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, models.CASCADE, related_name="+")
    touched_at = models.DateTimeField(auto_now=True, help_text="when the last part arrived")

    def __str__(self) -> str:
        return self.filename

    @property
    def is_complete(self) -> bool:
        """True if every byte has arrived."""
        return self.received == self.bytes


class DatasetImport(WorkItem):
    """A file that a worker downloads for a user. It ends as an upload or with an error."""

    uid = PublicIdField("import_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="imports")
    dataset = models.ForeignKey(Dataset, models.CASCADE, null=True, blank=True, related_name="imports")
    name = models.CharField(max_length=120, blank=True, help_text="name of a new dataset")
    source = models.CharField(max_length=2000, help_text="URL or Hugging Face id")
    options: models.JSONField[JsonObject, JsonObject] = models.JSONField(default=dict)
    received = models.BigIntegerField(default=0, help_text="bytes")
    upload = models.ForeignKey(Upload, models.SET_NULL, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey(User, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.source

    def get_absolute_url(self) -> str:
        return reverse("datasets:import", args=[self.team.slug, self.uid])


class DatasetVersion(Authored):
    """Immutable rows, split once into train, validation and sealed test."""

    uid = PublicIdField("file-")
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64, help_text="hash of the three split hashes")
    files: models.JSONField[dict[str, SplitFile], dict[str, SplitFile]] = models.JSONField(
        help_text="split -> {key, sha256, rows, bytes, training_bytes, columns}"
    )
    rows = models.PositiveIntegerField()
    report: models.JSONField[VersionReport, VersionReport] = models.JSONField(default=dict)
    filename = models.CharField(max_length=255)
    training_file = models.ForeignKey(
        ApiFile, models.PROTECT, null=True, related_name="+", help_text="names its rows in the API"
    )
    validation_file = models.ForeignKey(ApiFile, models.PROTECT, null=True, related_name="+")
    test_opened_at = models.DateTimeField(null=True, blank=True, help_text="when the test split was opened")
    test_opened_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["dataset", "number"], name="version_numbers_are_unique")
        ]

    def __str__(self) -> str:
        return f"{self.dataset.name} v{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("datasets:version", args=[self.dataset.team.slug, self.dataset.uid, self.number])

    def get_row_url(self, row_id: str) -> str:
        """Return the URL of a row's page."""
        return reverse("datasets:row", args=[self.dataset.team.slug, self.dataset.uid, self.number, row_id])
