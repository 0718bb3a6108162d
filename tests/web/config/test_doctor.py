"""The doctor reports passed checks, and remedies for failed ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).resolve().parents[3]


def doctor(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "webapp.config.settings"} | variables
    command = [sys.executable, "manage.py", "doctor"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_every_check_passes_on_a_working_machine(transactional_db: None) -> None:
    base, _, options = os.environ["DATABASE_URL"].partition("?")
    address = f"{base.rpartition('/')[0]}/{settings.DATABASES['default']['NAME']}?{options}"
    done = doctor(DATABASE_URL=address)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("database: PostgreSQL", "broker: reachable", "storage: returns", "sandbox: ", "seccomp"):
        assert part in done.stdout


def test_a_failed_check_shows_its_remedy(tmp_path: Path) -> None:
    done = doctor(
        DATABASE_URL="postgresql://groove@127.0.0.1:1/groove",
        BROKER_URL="redis://127.0.0.1:1/0",
        GROOVE_CGROUP=str(tmp_path),
    )
    assert done.returncode == 1
    for part in ("FAILED  database", "DATABASE_URL", "FAILED  broker", "BROKER_URL", "FAILED  sandbox"):
        assert part in done.stdout


def test_folders_that_other_users_can_read_are_reported(tmp_path: Path) -> None:
    """Groove creates private folders, and reports those that an older version left open."""
    work = tmp_path / "work"
    first = doctor(GROOVE_WORK=str(work))
    assert "ok      privacy: " in first.stdout, first.stdout + first.stderr
    assert work.stat().st_mode & 0o777 == 0o700
    work.chmod(0o755)
    second = doctor(GROOVE_WORK=str(work))
    assert f"FAILED  privacy: other users of this machine can read {work}" in second.stdout
    assert f"chmod -R go= {work}" in second.stdout
