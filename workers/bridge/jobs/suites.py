"""Files and graders of a job's suites: validation rows of datasets, and what ships with Groove."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from webapp.jobs.models import Job, JobSuite
from workers.bridge.jobs import files
from workers.starter.suites import SUITES


def fetch_suites(job: Job, folder: Path) -> list[dict[str, Any]]:
    """``JobSpec.suites`` of the job, their rows below ``folder``. Raises ``files.Damaged``."""
    return [_suite(suite, folder / f"suite_{suite.position}.jsonl") for suite in chosen(job)]


def chosen(job: Job) -> list[JobSuite]:
    """The job's suites, in order."""
    return list(job.suites.select_related("dataset_version__dataset", "grader_version"))


def _suite(suite: JobSuite, target: Path) -> dict[str, Any]:
    rows, grader = _built_in(suite, target) if suite.built_in else _own(suite, target)
    return {"name": suite.name, "rows": rows, "grader": grader, "max_loss": suite.max_loss}


def _built_in(suite: JobSuite, target: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    known = SUITES.get(suite.built_in)
    if known is None:
        raise files.Damaged(f"This version of Groove ships no suite {suite.built_in!r}.")
    shutil.copyfile(known.path, target)
    return known.file.model_dump() | {"path": target.name}, known.grader.model_dump(mode="json")


def _own(suite: JobSuite, target: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    assert suite.dataset_version, f"the suite {suite} has no rows"
    assert suite.grader_version, f"the suite {suite} has no grader"
    rows = files.fetch_split(suite.dataset_version, "validation", target)
    assert rows, f"{suite.dataset_version} has no validation rows"
    return rows, suite.grader_version.parsed.model_dump(mode="json")
