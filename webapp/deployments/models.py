"""Deployments, their immutable versions, and the append-only log of promotions."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.urls import reverse
from django.utils.functional import cached_property

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored
from webapp.jobs.models import Checkpoint
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team, User


class WrittenOnce(models.Model):
    """A row that never changes after it was written."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the row. Raises TypeError if it exists."""
        if not self._state.adding:
            raise TypeError(f"{type(self).__name__} rows never change; add another one.")
        super().save(*args, **kwargs)


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    """Deployments, with the version that answers."""

    def with_stable(self) -> DeploymentQuerySet:
        """Load the stable version of each deployment with one more query."""
        last = Promotion.objects.order_by("deployment_id", "-pk").distinct("deployment_id")
        versions = last.select_related(
            "version__base_model", "version__tuned_model__team", "version__checkpoint"
        )
        return self.prefetch_related(models.Prefetch("promotions", versions, to_attr="last_promotions"))


class Deployment(Authored):
    """A name that callers put in ``model``. Its last promotion decides which version answers."""

    uid = PublicIdField("dep_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="deployments")
    name = models.CharField(max_length=64)

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "name"], name="one_deployment_of_a_name_per_team")
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("deployments:detail", args=[self.team.slug, self.uid])

    @cached_property
    def stable(self) -> ServedVersion:
        """The version that answers, as of the first read of this attribute."""
        loaded: list[Promotion] | None = getattr(self, "last_promotions", None)
        return loaded[0].version if loaded else self.promotions.select_related("version").latest("pk").version


class ServedVersion(WrittenOnce, Authored):
    """What a deployment answers with: a base model, alone or with one adapter."""

    uid = PublicIdField("ver_")
    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    model_name = models.CharField(max_length=200, help_text="the model's own name: base, tuned or checkpoint")
    base_model = models.ForeignKey(BaseModel, models.PROTECT, related_name="served_versions")
    tuned_model = models.ForeignKey(TunedModel, models.PROTECT, null=True, related_name="served_versions")
    checkpoint = models.ForeignKey(Checkpoint, models.SET_NULL, null=True, related_name="served_versions")
    adapter_sha256 = models.CharField(max_length=64, blank=True, help_text="empty: the base alone")

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["deployment", "number"], name="served_version_numbers_are_unique")
        ]

    def __str__(self) -> str:
        return f"{self.deployment.name} v{self.number}"

    @property
    def available(self) -> bool:
        """False if the adapter was deleted since."""
        if not self.adapter_sha256:
            return True
        model = self.tuned_model
        return self.checkpoint_id is not None if model is None else model.deleted_at is None


class Promotion(WrittenOnce):
    """A change of the stable version. The last row is the present state; no row is ever deleted."""

    class Kind(models.TextChoices):
        PROMOTE = "promote", "Promoted"
        ROLLBACK = "rollback", "Rolled back"

    uid = PublicIdField("prm_")
    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="promotions")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    previous = models.ForeignKey(ServedVersion, models.PROTECT, null=True, related_name="+")
    version = models.ForeignKey(ServedVersion, models.PROTECT, related_name="promotions")
    promoted_by = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="+", help_text="empty: a service key"
    )
    reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.kind} {self.version}"
