"""Inspections of base models by the engine, in a child process with a time limit."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from webapp.registry import inspections
from webapp.registry.models import Inspection
from webapp.registry.queues import INSPECTIONS
from workers.bridge.jobs.files import local_ref
from workers.bridge.running import run_engine, run_item
from workers.contract.base_models.arguments import write_arguments

MOST_SECONDS = 180
SLOW = "Inspect it again, or try another worker."


def inspect_base(inspection_id: int) -> None:
    """Run a queued inspection."""
    run_item(INSPECTIONS, inspection_id, _inspect)


def _inspect(inspection: Inspection, folder: Path, lost: threading.Event) -> None:
    base = write_arguments(local_ref(inspection.base), folder / "rendering.json")
    run_engine(["inspect", "--out", str(folder), *base], folder, MOST_SECONDS, lost, SLOW)
    inspections.finish_inspection(inspection, json.loads((folder / "inspection.json").read_text()))
