"""The site's settings on services that this test session starts for itself, in a folder of its own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from webapp.config.processes import embedded

_folder = Path(tempfile.mkdtemp(prefix="groove-test-"))
_folder.chmod(0o711)
_stack = ExitStack()
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
atexit.register(_stack.close)

# pytest-xdist's workers inherit what the process that started them set: each takes services of its own.
_shared = "PYTEST_XDIST_WORKER" in os.environ
if _shared or "DATABASE_URL" not in os.environ:
    os.environ["DATABASE_URL"] = _stack.enter_context(embedded.run_postgres(_folder, durable=False))
if _shared or "BROKER_URL" not in os.environ:
    os.environ["BROKER_URL"] = _stack.enter_context(embedded.run_valkey(_folder))
os.environ |= {
    "GROOVE_VAR": str(_folder),
    "STORAGE_URL": f"file://{_folder / 'storage'}",
    "GROOVE_LEASE_SECONDS": "4",
    "GROOVE_BELL_SECONDS": "1",
    "GROOVE_STOP_GRACE_SECONDS": "30",
    "GROOVE_WARM_ENGINES": "0",
    "HF_HUB_OFFLINE": "1",
    "GROOVE_BASE_MODEL_ROOTS": f"{_folder / 'models'},{tempfile.gettempdir()}",
    "GROOVE_OUTBOUND_ALLOW": "127.0.0.1",
}

from webapp.config.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SERVE_THREADS = 0  # the gateway sees what a test has not committed
# Rate limits of one test do not reach into the next.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
(_folder / "tmp").mkdir()
