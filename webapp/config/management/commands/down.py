"""``manage.py down``: stop the Groove that ``up`` or ``demo`` started from this folder."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webapp.config.processes import supervisor

STOP_SECONDS = 60


class Command(BaseCommand):
    help = "Stop the running Groove of this folder."
    requires_system_checks = ()

    def is_running(self) -> bool:
        """True if a launcher holds this folder's lock."""
        try:
            with supervisor.lock_folder(settings.VAR_DIR):
                return False
        except CommandError:
            return (settings.VAR_DIR / "groove.pid").exists()

    def handle(self, *args: Any, **options: Any) -> None:
        file = settings.VAR_DIR / "groove.pid"
        if not self.is_running():
            file.unlink(missing_ok=True)  # a killed launcher does not delete it
            self.stdout.write("Groove is not running here.\n")
            return
        os.kill(int(file.read_text()), signal.SIGINT)
        end = time.monotonic() + STOP_SECONDS
        while file.exists():
            if time.monotonic() > end:
                raise CommandError(
                    f"Groove did not stop within {STOP_SECONDS} s. See {settings.VAR_DIR / 'log'}"
                )
            time.sleep(0.1)
        self.stdout.write("Stopped.\n")
