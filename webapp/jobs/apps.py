from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import pre_migrate


class JobsConfig(AppConfig):
    name = "webapp.jobs"
    label = "jobs"

    def ready(self) -> None:
        pre_migrate.connect(_add_extensions, sender=self)


def _add_extensions(using: str, **_: Any) -> None:
    """Add PostgreSQL's trigrams, which index the text of rollouts."""
    with connections[using].cursor() as cursor:
        cursor.execute("create extension if not exists pg_trgm")
