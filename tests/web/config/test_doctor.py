"""The doctor says what is well, and what to do about what is not."""

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


def test_a_well_machine_is_called_well(transactional_db: None) -> None:
    base, _, options = os.environ["DATABASE_URL"].partition("?")
    address = f"{base.rpartition('/')[0]}/{settings.DATABASES['default']['NAME']}?{options}"
    done = doctor(DATABASE_URL=address)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("database: PostgreSQL", "broker: answers", "storage: keeps", "sandbox: ", "seccomp"):
        assert part in done.stdout


def test_what_is_unwell_comes_with_its_remedy(tmp_path: Path) -> None:
    done = doctor(
        DATABASE_URL="postgresql://groove@127.0.0.1:1/groove",
        BROKER_URL="redis://127.0.0.1:1/0",
        GROOVE_CGROUP=str(tmp_path),
    )
    assert done.returncode == 1
    for part in ("UNWELL  database", "DATABASE_URL", "UNWELL  broker", "BROKER_URL", "UNWELL  sandbox"):
        assert part in done.stdout


def test_folders_that_other_users_can_read_are_named(tmp_path: Path) -> None:
    """What Groove makes is private; what an older version left open is found."""
    work = tmp_path / "work"
    first = doctor(GROOVE_WORK=str(work))
    assert "well    privacy: " in first.stdout, first.stdout + first.stderr
    assert work.stat().st_mode & 0o777 == 0o700
    work.chmod(0o755)
    second = doctor(GROOVE_WORK=str(work))
    assert f"UNWELL  privacy: other users of this machine can read {work}" in second.stdout
    assert f"chmod -R go= {work}" in second.stdout
