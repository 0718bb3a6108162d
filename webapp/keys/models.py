"""API keys of a team."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from encrypted_fields.fields import EncryptedTextField

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored
from webapp.teams.models import Role, Team, User


class Scope(models.TextChoices):
    """What a key may do. A key has one or more; none includes another."""

    READ = "read", "Read"
    WRITE = "write", "Write"
    INFERENCE = "inference", "Inference"


class ApiKey(Authored):
    """A personal key acts as its user; a service key (without a user) acts for the team.

    The key itself is shown once. ``digest`` is its SHA-256: the key has 190 random bits, so no slow hash
    is needed.
    """

    uid = PublicIdField("key_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="api_keys")
    user = models.ForeignKey(
        User, models.CASCADE, null=True, blank=True, related_name="api_keys", help_text="empty: a service key"
    )
    name = models.CharField(max_length=80)
    scopes = ArrayField(models.CharField(max_length=10, choices=Scope.choices))
    role = models.CharField(
        max_length=10, choices=Role.choices, default=Role.EDITOR, help_text="of a service key"
    )
    digest = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=4, help_text="last characters of the key")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def scope_labels(self) -> list[str]:
        """The names of the scopes, for pages."""
        return [Scope(each).label for each in self.scopes]

    @property
    def works(self) -> bool:
        """True unless the key is revoked or has expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class ApiKeyAddress(models.Model):
    """A network address that a key was used from."""

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="addresses")
    address = models.GenericIPAddressField()
    first_used_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key", "address"], name="one_address_per_key")
        ]

    def __str__(self) -> str:
        return self.address


class StoredAnswer(models.Model):
    """The first answer to a POST with an ``Idempotency-Key``. It may hold a secret, so it is encrypted."""

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="+")
    name = models.CharField(max_length=255, help_text="the header's value")
    request_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = EncryptedTextField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["key", "name"], name="one_answer_per_name")]

    def __str__(self) -> str:
        return self.name
