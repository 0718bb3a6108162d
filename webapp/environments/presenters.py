"""Contexts of an environment's pages: its versions, what inspections found, what was made of its tasks."""

from __future__ import annotations

from webapp.environments.forms import TaskDatasetForm, TaskForm
from webapp.environments.models import Environment, EnvironmentVersion
from webapp.work import nodes

RECENT = 6
SHOWN_TASKS = 5


def find_latest(environment: Environment) -> EnvironmentVersion:
    """Return the newest version, with its inspection."""
    latest = environment.versions.select_related("environment__team", "inspection").first()
    assert latest is not None, f"{environment} has no version"
    return latest


def build_context(version: EnvironmentVersion, task_form: TaskForm | None = None) -> dict[str, object]:
    """Return what ``environments/inspection.html`` shows of a version."""
    inspection = getattr(version, "inspection", None)
    found = inspection.found if inspection else None
    datasets = list(version.task_datasets.select_related("dataset_version__dataset__team")[:RECENT])
    plays = version.plays.select_related("team", "created_by").defer("moves")
    return {
        "version": version,
        "inspection": inspection,
        "found": found,
        "splits": [(split, split.tasks[:SHOWN_TASKS]) for split in found.splits] if found else [],
        "task_form": task_form or TaskForm(version=version),
        "dataset_form": TaskDatasetForm(),
        "task_datasets": datasets,
        "plays": list(plays[:RECENT]),
        "waiting": bool(inspection and inspection.pending) or any(each.pending for each in datasets),
        "worker_online": nodes.find_online().exists(),
    }


def build_versions_context(environment: Environment, latest: EnvironmentVersion) -> dict[str, object]:
    """Return what ``environments/versions.html`` shows."""
    versions = environment.versions.select_related("inspection", "created_by").defer("source")
    return {"versions": list(versions), "latest": latest}
