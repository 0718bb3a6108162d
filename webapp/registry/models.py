"""Base models, tuned models and their exports."""

from __future__ import annotations

import json
from typing import ClassVar, TypedDict

from django.db import models
from django.urls import reverse

from webapp.core.fields import PublicIdField
from webapp.core.models import SoftDeleted
from webapp.teams.models import Team, User
from webapp.work.models import Node, WorkItem
from workers.contract.base_models.sources import BaseSource, find_source
from workers.contract.exports import KINDS
from workers.contract.spec import BaseModelRef


class StoredFile(TypedDict):
    """A file below the ``prefix`` of a model or export."""

    name: str
    bytes: int
    sha256: str


class LoraShape(TypedDict):
    """Shape of an adapter, as in the section ``lora`` of a job's settings."""

    rank: int
    alpha: int
    targets: str


class BaseModel(models.Model):
    """A model that jobs start from, on the Hugging Face hub or in a folder on workers. No team: shared."""

    uid = PublicIdField("base_")
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="base_models")
    model_id = models.CharField(max_length=200, help_text="Hugging Face id; goes into the adapter's config")
    revision = models.CharField(max_length=80, blank=True)
    path = models.CharField(max_length=500, blank=True, help_text="local folder on the workers")
    description = models.CharField(max_length=300, blank=True)
    chat_template = models.TextField(blank=True, help_text="Jinja, in place of the tokenizer's own")
    template_arguments = models.JSONField(default=dict, help_text="given to the chat template")
    settings = models.JSONField(default=dict, help_text="recommended job settings for this model")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.model_id

    def ref(self) -> BaseModelRef:
        """Return the reference that workers and the engine use."""
        return BaseModelRef(
            id=self.model_id,
            revision=self.revision or None,
            path=self.path or None,
            chat_template=self.chat_template or None,
            template_arguments=self.template_arguments,
        )

    @property
    def source(self) -> BaseSource:
        """The source of its files."""
        return find_source(self.model_id, self.revision, self.path)

    @property
    def template_arguments_text(self) -> str:
        """The chat template's arguments as JSON."""
        return json.dumps(self.template_arguments, ensure_ascii=False)


class Inspection(WorkItem):
    """A worker's inspection of a base model's files, before a job starts from it."""

    base = models.OneToOneField(BaseModel, models.CASCADE, related_name="inspection")
    report = models.JSONField(default=dict, help_text="{problem, facts, notes} of the engine's inspection")

    def __str__(self) -> str:
        return f"Inspection of {self.base}"


class TunedModel(SoftDeleted):
    """An adapter package, complete and checked."""

    uid = PublicIdField("model_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="tuned_models")
    base_model = models.ForeignKey(BaseModel, models.PROTECT, related_name="tuned_models")
    name = models.CharField(max_length=255, db_index=True, help_text="ft:BASE:TEAM:SUFFIX:RANDOM")
    description = models.CharField(max_length=200, blank=True, help_text="its purpose in a line")
    prefix = models.CharField(max_length=255, help_text="folder in storage")
    files = models.JSONField(help_text="[{name, bytes, sha256}]")
    uploaded = models.BooleanField(default=False, help_text="not made by a job of this server")
    shape = models.JSONField(default=dict, help_text="{rank, alpha, targets} of an uploaded adapter")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("catalog:model", args=[self.team.slug, self.uid])

    @property
    def purged(self) -> bool:
        """Deleted for good: the files are gone, the name stays for lineage."""
        return self.deleted_at is not None and not self.files


class Export(WorkItem):
    """A tuned model in another format, made and checked by a worker, stored for download."""

    model = models.ForeignKey(TunedModel, models.CASCADE, related_name="exports")
    kind = models.CharField(max_length=20, help_text="a key of workers.contract.exports.KINDS")
    node = models.ForeignKey(
        Node, models.SET_NULL, null=True, blank=True, related_name="exports", help_text="makes or made it"
    )
    shortage = models.CharField(max_length=300, blank=True, help_text="what the last node lacked for it")
    prefix = models.CharField(max_length=255, blank=True, help_text="folder in storage")
    files = models.JSONField(default=list, help_text="[{name, bytes, sha256}]")
    verification = models.JSONField(default=dict, help_text="workers.engine.export.checking.Verification")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "kind"], name="a_model_has_one_export_of_a_kind")
        ]

    def __str__(self) -> str:
        return f"{KINDS[self.kind].label} of {self.model}"
