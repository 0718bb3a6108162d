"""Environments, their immutable versions, and the work on them: inspections, datasets of tasks, plays."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.urls import reverse
from encrypted_fields.fields import EncryptedTextField
from pydantic import TypeAdapter

from webapp.core.fields import PublicIdField, pydantic_field
from webapp.core.models import Authored, SoftDeleted
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.environments.findings import Inspected, Progress
from webapp.graders.fields import WrittenJSONField
from webapp.teams.models import Team
from webapp.work.models import WorkItem
from workers.contract import environments as contract

if TYPE_CHECKING:
    from webapp.environments.findings import Move
    from workers.contract.json_types import JsonObject


PYTHON = "python"
DEFINITION: TypeAdapter[contract.Environment] = TypeAdapter(contract.Environment)


class Environment(Authored, SoftDeleted):
    """A named series of versions."""

    uid = PublicIdField("env_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="environments")
    name = models.CharField(max_length=120)
    description = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("environments:detail", args=[self.team.slug, self.uid])


class EnvironmentVersion(Authored):
    """The source of an environment, as its author wrote it; never changes.

    That of a server is the JSON of its definition.
    """

    uid = PublicIdField("envv_")
    environment = models.ForeignKey(Environment, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    type = models.CharField(max_length=20, default=PYTHON, help_text="of the definition")
    source = models.TextField()
    sha256 = models.CharField(max_length=64, help_text="of the source")
    note = models.CharField(max_length=200, blank=True, help_text="what changed, in its author's words")

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["environment", "number"], name="environment_version_numbers_are_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.environment.name} v{self.number}"

    def get_absolute_url(self) -> str:
        environment = self.environment
        return reverse("environments:version", args=[environment.team.slug, environment.uid, self.number])

    @cached_property
    def definition(self) -> contract.Environment:
        """The definition that a worker opens."""
        fields = json.loads(self.source) if self.at_server else {"source": self.source}
        return DEFINITION.validate_python({**fields, "type": self.type, "name": self.environment.name})

    @property
    def at_server(self) -> bool:
        """True if a server plays the environment."""
        return self.type != PYTHON

    @property
    def what(self) -> str:
        """What the source is, for pages."""
        return "Connection" if self.at_server else "Source"


class ServerSecret(Authored):
    """The secret of an environment's server. Definitions name its ``uid``; it goes to this ``url`` only."""

    uid = PublicIdField("envsecret_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="server_secrets")
    url = models.CharField(max_length=500)
    value = EncryptedTextField()

    def __str__(self) -> str:
        return f"secret of {self.url}"


class EnvironmentInspection(WorkItem):
    """An inspection of a version in the sandbox: its tools, its tasks, and what checks found."""

    version = models.OneToOneField(EnvironmentVersion, models.CASCADE, related_name="inspection")
    found: Inspected | None = pydantic_field(Inspected, null=True, blank=True)

    def __str__(self) -> str:
        return f"inspection of {self.version}"

    @property
    def badges(self) -> list[tuple[str, str]]:
        """The most important results, worst first: (kind of badge, text)."""
        counts = [(kind, self.found.count(kind) if self.found else 0) for kind in ("error", "warning")]
        badges = [(kind, f"{n} {kind}{'' if n == 1 else 's'}") for kind, n in counts if n]
        return badges or [("success", "checked")]


class TaskDataset(Authored, WorkItem):
    """A dataset version that a worker makes of a version's tasks."""

    uid = PublicIdField("taskset_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="task_datasets")
    version = models.ForeignKey(EnvironmentVersion, models.CASCADE, related_name="task_datasets")
    most = models.PositiveIntegerField(help_text="tasks of each split, at most")
    dataset = models.ForeignKey(
        Dataset, models.SET_NULL, null=True, blank=True, related_name="+", help_text="gets a new version"
    )
    dataset_version = models.ForeignKey(
        DatasetVersion, models.SET_NULL, null=True, blank=True, related_name="task_datasets"
    )

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"tasks of {self.version}"


class Play(Authored, WorkItem):
    """A task that a person or the oracle plays.

    A worker replays all ``moves`` in a fresh session each time, since equal calls give equal results.
    """

    uid = PublicIdField("play_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="plays")
    version = models.ForeignKey(EnvironmentVersion, models.CASCADE, related_name="plays")
    split = models.CharField(max_length=100)
    task: models.JSONField[JsonObject, JsonObject] = WrittenJSONField(help_text="arguments of the session")
    by_oracle = models.BooleanField(default=False, help_text="the environment's oracle makes the moves")
    moves: models.JSONField[list[Move], list[Move]] = models.JSONField(
        default=list, help_text="[{tool, arguments} or {message}]"
    )
    progress: Progress = pydantic_field(Progress, default=Progress)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"play of {self.version}"

    def get_absolute_url(self) -> str:
        return reverse("environments:play", args=[self.team.slug, self.uid])

    @property
    def ended(self) -> bool:
        """True if no further move counts."""
        return self.progress.end is not None
