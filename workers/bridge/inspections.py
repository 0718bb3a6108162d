"""Inspects a base model: the engine looks at its files in a child process, within a time limit."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from webapp.registry import inspections
from webapp.registry.models import Inspection
from webapp.registry.queues import INSPECTIONS
from workers.bridge.files import local_path, write_rendering
from workers.bridge.running import run_engine, run_item

MOST_SECONDS = 180


def inspect_base(inspection_id: int) -> None:
    """Run a queued inspection."""
    run_item(INSPECTIONS, inspection_id, _inspect)


def _inspect(inspection: Inspection, folder: Path, lost: threading.Event) -> None:
    base, rendering = inspection.base, folder / "rendering.json"
    write_rendering(base, rendering)
    arguments = ["inspect", base.model_id, "--out", str(folder), "--rendering", str(rendering)]
    if base.revision:
        arguments += ["--revision", base.revision]
    if path := local_path(base.path):
        arguments += ["--path", path]
    run_engine(arguments, folder, MOST_SECONDS, lost)
    inspections.finish_inspection(inspection, json.loads((folder / "inspection.json").read_text()))
