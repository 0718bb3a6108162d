"""A full-size database for the benchmarks of pages: seeded once into ``var/bench``, then kept."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.scale import SMALL, sized
from webapp.config.processes import embedded

FOLDER = Path(tempfile.mkdtemp(prefix="groove-bench-") if SMALL else "var/bench").resolve()
if SMALL:
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
SEEDED = "bench@example.com"


@contextmanager
def full_site() -> Iterator[Any]:
    """Django set up on the full-size database; gives the newest job of its team."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    FOLDER.chmod(0o711)
    with embedded.run_postgres(FOLDER, durable=False) as address:
        os.environ |= {
            "DATABASE_URL": address,
            "GROOVE_VAR": str(FOLDER),
            "STORAGE_URL": f"file://{FOLDER / 'storage'}",
            "DJANGO_SETTINGS_MODULE": "webapp.config.settings",
            "GROOVE_LOG_LEVEL": "ERROR",
        }
        (FOLDER / "tmp").mkdir(exist_ok=True)
        import django

        django.setup()
        from django.db import connections

        yield _newest_job()
        connections.close_all()


def _newest_job() -> Any:
    from django.core.management import call_command

    from webapp.seeding.seed import Sizes, seed
    from webapp.teams.models import Team, User
    from webapp.teams.services import create_team

    call_command("migrate", verbosity=0)
    team = Team.objects.filter(memberships__user__email=SEEDED).first()
    if team is None:
        began = time.monotonic()
        user = User.objects.create_user(SEEDED, None)
        seed(create_team(user, "Bench"), user, sized(Sizes(), Sizes(jobs=3, points=6000, rollouts=600)))
        print(f"seeded in {time.monotonic() - began:.0f} s", flush=True)
        team = user.teams.get()
    newest = team.jobs.latest("pk")
    assert newest.rollouts.exists(), f"seeding was cut short: remove {FOLDER}"
    return newest
