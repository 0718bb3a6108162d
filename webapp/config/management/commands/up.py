"""``manage.py up``: run Groove on this machine until interrupted."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from webapp.config.processes import supervisor


class Command(BaseCommand):
    help = "Run embedded services, web, worker and beat in the foreground."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        with supervisor.run_services() as child:
            port = supervisor.choose_port()
            self.stdout.write(f"Groove: http://127.0.0.1:{port}   (Ctrl-C stops it)\n")
            status = supervisor.supervise(child, port, {})
        sys.exit(status)
