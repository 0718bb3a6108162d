"""A wrong setting stops the start, with the remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "kJ8sd0fQ2mXz7Lp4Vt9Wb1Ny6Rc3Hg5Ae-Ui_OoPq8Ss2Dd4Ff6"
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"GROOVE_PRODUCTION": "1"}, "GROOVE_SECRET_KEY is not set"),
        ({"GROOVE_PRODUCTION": "1", "GROOVE_SECRET_KEY": SECRET}, "GROOVE_HOSTS does not name"),
        ({"DATABASE_URL": "mysql://somewhere"}, "postgresql://user:password@host:port/name"),
        ({"STORAGE_URL": "ftp://somewhere"}, "must start with file:// or s3://"),
        ({"GROOVE_LEASE_SECONDS": "soon"}, "GROOVE_LEASE_SECONDS is 'soon'"),
    ],
)
def test_a_bad_setting_stops_the_start_and_names_the_variable(
    variables: dict[str, str], message: str
) -> None:
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "webapp.config.settings"} | variables
    command = [sys.executable, "manage.py", "check"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert message in done.stderr
