"""Inspects a base model: the engine looks at its files in a child process, within a time limit."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

from django.conf import settings

from webapp.registry import inspections
from webapp.registry.models import Inspection
from workers.bridge import child
from workers.bridge.files import local_ref
from workers.contract.base_arguments import write_arguments

MOST_SECONDS = 180
Json = dict[str, Any]
log = logging.getLogger(__name__)


def inspect_base(inspection_id: int) -> None:
    """Run a queued inspection. A second message for the same one finds nothing to do."""
    inspection = inspections.claim(inspection_id)
    if inspection is None:
        return
    folder = settings.WORK_DIR / "inspections" / f"{inspection.pk}-{inspection.attempt}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        report = _inspected(inspection, folder)
    except Exception as error:  # the page must not wait for ever
        log.exception("The inspection of %s failed", inspection.base)
        report = _failed(f"The inspection could not run: {type(error).__name__}: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    inspections.finish(inspection, report)


def _inspected(inspection: Inspection, folder: Path) -> Json:
    base, output = inspection.base, folder / "child.log"
    arguments = ["workers.engine", "inspect", "--out", str(folder)]
    arguments += write_arguments(local_ref(base), folder / "rendering.json")
    with child.started(arguments, {"cpu_cores": 1}, output) as process:
        try:
            process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            return _failed(f"It was not done within {MOST_SECONDS} s.")
    if process.returncode:
        log.warning("Inspecting %s ended with %s: %s", base, process.returncode, child.tail(output)[-2000:])
        return _failed(f"The inspecting process ended with {process.returncode}. The worker's log says more.")
    report: Json = json.loads((folder / "inspection.json").read_text())
    return report


def _failed(message: str) -> Json:
    return {"problem": {"message": message, "remedy": "Inspect it again, or try another worker."}}
