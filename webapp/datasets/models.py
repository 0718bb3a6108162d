"""Datasets: uploads on trial, and the immutable versions made of them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored, SoftDeleted
from webapp.teams.models import Team, User
from webapp.work.models import WorkItem


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
    """A checked file that is not yet a version. It is deleted if nobody commits it."""

    class State(models.TextChoices):
        CHECKED = "checked"
        REFUSED = "refused"
        COMMITTED = "committed"

    uid = PublicIdField("upload_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="uploads")
    dataset = models.ForeignKey(Dataset, models.CASCADE, null=True, blank=True, related_name="uploads")
    name = models.CharField(max_length=120, help_text="name of the dataset to be")
    filename = models.CharField(max_length=255)
    file = models.CharField(max_length=255, help_text="key in storage of the bytes as they came")
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State.choices)
    options = models.JSONField(default=dict, help_text="format, field mapping, skip bad rows")
    report = models.JSONField(
        default=dict, help_text="counts, errors by line, duplicates, overlap, first rows"
    )

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("datasets:upload", args=[self.team.slug, self.uid])


class Transfer(models.Model):
    """A file that comes in parts, one after the other. It is no upload before it is whole."""

    uid = PublicIdField("transfer_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="transfers")
    dataset = models.ForeignKey(Dataset, models.CASCADE, null=True, blank=True, related_name="transfers")
    name = models.CharField(max_length=120, blank=True, help_text="name of the dataset to be")
    filename = models.CharField(max_length=255)
    bytes = models.BigIntegerField(help_text="of the whole file")
    received = models.BigIntegerField(default=0, help_text="bytes that are stored")
    parts = models.JSONField(default=list, help_text="keys in storage, in order")
    options = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, models.CASCADE, related_name="+")
    touched_at = models.DateTimeField(auto_now=True, help_text="when the last part came")

    def __str__(self) -> str:
        return self.filename

    @property
    def whole(self) -> bool:
        """Whether every byte is here."""
        return self.received == self.bytes


class DatasetImport(WorkItem):
    """A file that a worker downloads for a user. It ends as an upload, or with an error."""

    uid = PublicIdField("import_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="imports")
    dataset = models.ForeignKey(Dataset, models.CASCADE, null=True, blank=True, related_name="imports")
    name = models.CharField(max_length=120, blank=True, help_text="name of the dataset to be")
    source = models.CharField(max_length=2000, help_text="URL, or id on the Hugging Face hub")
    options = models.JSONField(default=dict)
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
    """Rows that never change again, split once into train, validation and sealed test."""

    uid = PublicIdField("file-")
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64, help_text="hash of the three split hashes")
    files = models.JSONField(help_text="split -> {key, sha256, rows, bytes}")
    rows = models.PositiveIntegerField()
    report = models.JSONField(default=dict)
    filename = models.CharField(max_length=255)
    test_opened_at = models.DateTimeField(null=True, blank=True, help_text="when the seal was broken")
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

    def address_of(self, row_id: str) -> str:
        """The page of one of its rows."""
        return reverse("datasets:row", args=[self.dataset.team.slug, self.dataset.uid, self.number, row_id])
