"""Environments in jobs: which versions can be chosen, which rows are their tasks, and what keeps them out."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import OuterRef, QuerySet, Subquery

from webapp.datasets.models import DatasetVersion
from webapp.environments.models import EnvironmentInspection, EnvironmentVersion, TaskDataset
from webapp.graders.models import GraderVersion
from webapp.teams.models import Team
from workers import grading

NAMED_FIELDS = 5
NO_REWARD = "{} has tools and no reward. Choose a grader that reads what the model did."
Inspection = EnvironmentInspection


def list_usable_versions(team: Team) -> QuerySet[EnvironmentVersion]:
    """Return the versions that a job may name, the newest first."""
    versions = EnvironmentVersion.objects.filter(environment__team=team, environment__deleted_at=None)
    return versions.select_related("environment__team").defer("source").order_by("-id")


def annotate_environments(rows: QuerySet[DatasetVersion]) -> QuerySet[DatasetVersion]:
    """Add ``played_in`` to versions: the key of the environment's version whose tasks the rows are, or None.

    Deleted environments do not count.
    """
    made = TaskDataset.objects.filter(
        dataset_version=OuterRef("pk"), version__environment__deleted_at=None
    ).order_by("-pk")
    return rows.annotate(played_in=Subquery(made.values("version")[:1]))


def find_environment_of_rows(
    version: DatasetVersion, environments: Iterable[EnvironmentVersion]
) -> EnvironmentVersion | None:
    """Return which of the ``environments`` has the rows as its tasks; ``version`` must be annotated."""
    key = version.played_in  # type: ignore[attr-defined]
    return next((each for each in environments if each.pk == key), None) if key else None


def find_environment_refusal(
    environment: EnvironmentVersion | None, rows: DatasetVersion, grader: GraderVersion
) -> str:
    """Return why the rows cannot be played in the environment and graded so; empty if they can."""
    if environment is None:
        if grading.reads_episode(grader.parsed):
            return f"The grader {grader} returns the reward of an environment: choose the environment."
        return ""
    inspection = Inspection.objects.filter(version=environment).first()
    if inspection is None or inspection.pending:
        return f"{environment} is still being checked. Wait until a worker has done so."
    if inspection.found is None or inspection.state == Inspection.State.FAILED:
        reason = inspection.error.message if inspection.error else ""
        return f"{environment} cannot run. {reason} Save a version that can.".replace("  ", " ")
    if errors := [each for each in inspection.found.findings if each.kind == "error"]:
        return f"{environment} has an error: {errors[0].title}. {errors[0].remedy}".strip()
    if not inspection.found.splits:  # a server with tools alone: any rows can be its tasks
        return NO_REWARD.format(environment) if grading.reads_episode(grader.parsed) else ""
    return _compare_fields(environment, rows, inspection.found.required, inspection.found.fields)


def _compare_fields(
    environment: EnvironmentVersion, rows: DatasetVersion, required: list[str], known: list[str]
) -> str:
    """Return how the rows' fields differ from the fields of the environment's tasks."""
    if "fields" not in rows.report or rows.report.get("left_out"):
        return ""
    present = {field["name"]: field["present"] for field in rows.report["fields"]}
    if lacking := [name for name in required if present.get(name, 0) < rows.rows]:
        what = f"rows without {_name(lacking)}"
    elif more := [name for name in present if name not in known]:
        what = f"a field {_name(more[:1])} that no task has"
    else:
        return ""
    return (
        f"{rows} has {what}, so its rows are no tasks of {environment}. Choose the dataset that was created "
        "of its tasks, or another environment."
    )


def _name(fields: list[str]) -> str:
    return ", ".join(fields[:NAMED_FIELDS])
