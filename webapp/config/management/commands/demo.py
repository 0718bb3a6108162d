"""``manage.py demo``: run Groove and its sample job, and show its progress in the terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from webapp.config.processes import supervisor


class Command(BaseCommand):
    help = "Run everything with the sample project and its job."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--oneshot", action="store_true", help="stop when the sample job has ended")
        parser.add_argument("--sample", default="office", help="office or refund-desk")
        parser.add_argument(
            "--began", type=float, default=time.time(), help="Unix time at which set-up began"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        result = settings.VAR_DIR / "demo.json"
        result.unlink(missing_ok=True)
        with supervisor.run_services() as child:
            port = supervisor.choose_port()
            watch = [
                supervisor.PYTHON,
                "manage.py",
                "demo_job",
                "--port",
                str(port),
                "--began",
                str(options["began"]),
                "--sample",
                options["sample"],
            ]
            if options["oneshot"]:
                watch.append("--oneshot")
            status = supervisor.supervise(child, port, {"demo": watch}, log_folder=settings.VAR_DIR / "log")
        if options["oneshot"] and result.exists():
            self.stdout.write(result.read_text())
        sys.exit(status)
