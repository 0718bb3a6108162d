"""Rows of new jobs, made of the files that their API requests name."""

from __future__ import annotations

from webapp.jobs.launch.row_builds import ROW_BUILDS, build_rows
from workers.bridge.running import run_item


def run_build(build_id: int) -> None:
    """Make the rows of a job, if no other worker does."""
    run_item(ROW_BUILDS, build_id, lambda build, _folder, _lost: build_rows(build))
