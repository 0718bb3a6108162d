"""Users, teams, roles, invitations, and the audit trail."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.urls import reverse


class EmailUserManager(UserManager["User"]):
    """Creates users with an e-mail address instead of a user name."""

    def _create(self, email: str, password: str | None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:  # type: ignore[override]
        return self._create(email, password, **fields)

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:  # type: ignore[override]
        return self._create(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """A person, who signs in with an e-mail address."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail address", unique=True)
    mail_on_end = models.BooleanField("e-mail", default=False, help_text="when a job that I launched ends")
    notify_on_end = models.BooleanField(
        "browser notification", default=False, help_text="when a job that I launched ends and Groove is open"
    )
    single_keys = models.BooleanField(
        "single-key shortcuts", default=True, help_text="off: only shortcuts with Ctrl, Cmd or Alt work"
    )

    job_columns = models.JSONField(default=list, blank=True, help_text="columns in the list of jobs")

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[EmailUserManager] = EmailUserManager()

    def __str__(self) -> str:
        return self.email


class Role(models.TextChoices):
    """Rights of a member. Each role includes the roles below it."""

    OWNER = "owner", "Owner"
    EDITOR = "editor", "Editor"
    VIEWER = "viewer", "Viewer"


class Team(models.Model):
    """The owner of all other objects: each belongs to exactly one team."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=80)
    created_at = models.DateTimeField(auto_now_add=True)
    rollouts_kept_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="after a job's end; empty keeps them forever"
    )
    max_running_jobs = models.PositiveIntegerField(
        null=True, blank=True, help_text="at the same time; empty is no limit; set by the site's staff"
    )
    members = models.ManyToManyField(User, through="Membership", related_name="teams")

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("home:overview", args=[self.slug])


class Membership(models.Model):
    """A user's role in a team."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    checklist_hidden = models.BooleanField(default=False, help_text="the member hid the first steps")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["team", "user"], name="one_role_per_member")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}: {self.role}"


def create_invitation_token() -> str:
    """Return the secret part of an invitation's link."""
    return secrets.token_urlsafe(24)


class Invitation(models.Model):
    """A link into a team, for one e-mail address or for the first person who opens it."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="invitations")
    email = models.EmailField("e-mail address", blank=True)
    role = models.CharField(max_length=10, choices=Role.choices)
    token = models.CharField(max_length=64, unique=True, default=create_invitation_token)
    created_by = models.ForeignKey(User, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.addressee} to {self.team}"

    def get_absolute_url(self) -> str:
        return reverse("teams:invitation", args=[self.token])

    @property
    def addressee(self) -> str:
        """The person whom the link admits, in words."""
        return self.email or "anyone with the link"


class AuditEvent(models.Model):
    """An entry of the audit trail: who did what to which object. Never deleted."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="audit_events")
    user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    verb = models.CharField(max_length=60)
    target = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["team", "-id"], name="audit_of_team")]

    def __str__(self) -> str:
        return f"{self.user} {self.verb} {self.target}"
