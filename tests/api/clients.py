"""Scripts that call the API with other clients, each in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VENV = Path(sys.prefix)


def run_script(environment: str, script: str, base_url: str, secret: str) -> str:
    """Run a Python script with the packages of ``.venv/<environment>`` alone, and return what it prints."""
    packages = VENV / environment
    assert (packages / ".locked").exists(), f"{packages} is missing: run make clients"
    values = {
        "PYTHONPATH": str(packages),
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": secret,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it fetches prices from the internet
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, "-S", "-c", script]  # -S: nothing of our own environment
    done = subprocess.run(command, env=values, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
