"""``manage.py prepare``: the rows every installation has, made once."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from webapp.registry.services import ensure_starter_model, ensure_tool_starter_model


class Command(BaseCommand):
    help = "Register the starter models. Safe to run again."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("createcachetable", verbosity=0)
        ensure_starter_model()
        ensure_tool_starter_model()
