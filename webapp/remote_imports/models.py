"""Imports of files and jobs from a service with OpenAI's API, and what became of each."""

from __future__ import annotations

from typing import ClassVar, Literal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.urls import reverse
from pydantic import BaseModel, Field

from webapp.core.fields import PublicIdField, pydantic_field
from webapp.teams.models import Team, User
from webapp.work.models import WorkItem
from workers.contract.json_types import JsonObject

ID_LENGTH = 100


class ImportedItem(BaseModel):
    """What became of one file or job. ``notes`` say what was not carried over, and what to do.

    ``dataset``, ``grader`` and ``base`` are public ids of a dataset version, a grader version and a base
    model; ``settings`` are sections of a job's settings.
    """

    kind: Literal["file", "job"]
    remote_id: str
    name: str = ""
    problem: str = ""
    notes: list[str] = Field(default_factory=list)
    dataset: str = ""
    grader: str = ""
    base: str = ""
    settings: JsonObject = Field(default_factory=dict)


class ImportReport(BaseModel):
    """The items that are done, in order."""

    items: list[ImportedItem] = Field(default_factory=list)


class RemoteImport(WorkItem):
    """Takes over chosen files and jobs. The service's key is not here: ``keys`` holds it for minutes."""

    uid = PublicIdField("import_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="remote_imports")
    base_url = models.CharField(max_length=500)
    ticket = models.CharField(max_length=64, help_text="finds the service's key while it is kept")
    files = ArrayField(models.CharField(max_length=ID_LENGTH), default=list)
    jobs = ArrayField(models.CharField(max_length=ID_LENGTH), default=list)
    report: ImportReport = pydantic_field(ImportReport, default=ImportReport)
    created_by = models.ForeignKey(User, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.base_url

    def get_absolute_url(self) -> str:
        return reverse("remote_imports:show", args=[self.team.slug, self.uid])

    @property
    def chosen(self) -> int:
        """How many files and jobs were chosen."""
        return len(self.files) + len(self.jobs)
