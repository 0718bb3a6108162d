"""Files and graders of a job's suites: validation rows of datasets, and suites that Groove ships."""

from __future__ import annotations

import shutil
from pathlib import Path

from webapp.jobs.models import Job, JobSuite
from workers.bridge.jobs import files
from workers.contract.graders import Grader
from workers.contract.spec import DataFile, Suite
from workers.starter.suites import SUITES


def fetch_suites(job: Job, folder: Path) -> list[Suite]:
    """Copy the rows of the job's suites to ``folder``. Raises ``files.Damaged``."""
    return [_fetch_suite(suite, folder / f"suite_{suite.position}.jsonl") for suite in list_suites(job)]


def list_suites(job: Job) -> list[JobSuite]:
    """Return the job's suites, in order."""
    return list(job.suites.select_related("dataset_version__dataset", "grader_version"))


def _fetch_suite(suite: JobSuite, target: Path) -> Suite:
    rows, grader = _copy_built_in(suite, target) if suite.built_in else _fetch_own(suite, target)
    return Suite(name=suite.name, rows=rows, grader=grader, max_loss=suite.max_loss)


def _copy_built_in(suite: JobSuite, target: Path) -> tuple[DataFile, Grader]:
    built_in = SUITES.get(suite.built_in)
    if built_in is None:
        raise files.Damaged(f"This version of Groove has no suite {suite.built_in!r}.")
    shutil.copyfile(built_in.path, target)
    return built_in.file.model_copy(update={"path": target.name}), built_in.grader


def _fetch_own(suite: JobSuite, target: Path) -> tuple[DataFile, Grader]:
    assert suite.dataset_version, f"the suite {suite} has no rows"
    assert suite.grader_version, f"the suite {suite} has no grader"
    rows = files.fetch_split(suite.dataset_version, "validation", target)
    assert rows, f"{suite.dataset_version} has no validation rows"
    return rows, suite.grader_version.parsed
