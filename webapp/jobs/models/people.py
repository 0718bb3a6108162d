"""Notices of ended jobs, and saved views of rollouts."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from webapp.core.models import Authored
from webapp.jobs.models.job import Job
from webapp.jobs.states import State
from webapp.teams.models import Team, User


class JobNotice(models.Model):
    """A notice for a user who wants one that a job has ended (``live/notifications.py``)."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="notices")
    user = models.ForeignKey(User, models.CASCADE, related_name="notices")
    state = models.CharField(max_length=20, choices=State.choices)
    created_at = models.DateTimeField(auto_now_add=True)
    mail_at = models.DateTimeField(null=True, help_text="when to send the e-mail; null: none to send")
    mail_failures = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "user"], name="one_notice_per_job_and_user")
        ]
        indexes: ClassVar = [
            models.Index(fields=["mail_at"], name="notice_mail", condition=models.Q(mail_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.job} {self.state}"


class SavedView(Authored):
    """Filters of the rollouts page under a name; ``query`` is the query string."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "name"], name="one_saved_view_of_a_name_per_team")
        ]

    def __str__(self) -> str:
        return self.name
