"""Defaults of a new job: its dataset and grader, where one of them is not named; settings in its URL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from django.db.models import OuterRef, Subquery

from webapp.core.input_checks import load_json
from webapp.datasets.models import DatasetVersion
from webapp.environments.models import EnvironmentVersion
from webapp.graders.definitions import required_fields
from webapp.graders.models import GraderTrial, GraderVersion
from webapp.jobs.launch.service import check_settings
from workers.contract.spec import SECTIONS
from workers.grading import reads_episode

TRIED = 20  # newest choices that are compared with what was named
Pair = tuple[DatasetVersion | None, GraderVersion | None]


def complete_choices(
    version: DatasetVersion | None,
    grader: GraderVersion | None,
    versions: Iterable[DatasetVersion],
    graders: Iterable[GraderVersion],
    environment: EnvironmentVersion | None = None,
) -> Pair:
    """Choose what was not named: the last one tried with the other, the newest that fits, or the newest.

    ``versions`` and ``graders`` are the choices, newest first. Tasks of an ``environment`` and a grader of
    its reward fit each other. ``versions`` are annotated with their environments.
    """
    if version and grader:
        return version, grader
    if grader:
        return _find_last_tried_version(grader, versions) or _find_fitting_version(grader, versions), grader
    version = version or next(iter(versions), None)
    if version is None:
        return None, next(iter(graders), None)
    return version, _find_last_tried_grader(version, graders) or _find_fitting_grader(
        version, graders, environment
    )


def _find_last_tried_version(
    grader: GraderVersion, versions: Iterable[DatasetVersion]
) -> DatasetVersion | None:
    """Return the rows that the grader's last trial graded."""
    known = {version.pk: version for version in versions}
    trials = GraderTrial.objects.filter(grader=grader.grader_id, dataset_version__in=known)
    tried = trials.order_by("-pk").values_list("dataset_version", flat=True).first()
    return known[tried] if tried else None


def _find_fitting_version(grader: GraderVersion, versions: Iterable[DatasetVersion]) -> DatasetVersion | None:
    newest, played = islice(versions, TRIED), reads_episode(grader.parsed)
    return next(
        (
            version
            for version in newest
            if not required_fields.find_refusal(grader, version) and (not played or version.played_in)  # type: ignore[attr-defined]
        ),
        next(iter(versions), None),
    )


def _find_last_tried_grader(
    version: DatasetVersion, graders: Iterable[GraderVersion]
) -> GraderVersion | None:
    """Return the newest version of the grader that graded these rows last.

    The version's report, which graders are compared with, is read in the same query.
    """
    trials = GraderTrial.objects.filter(dataset_version=OuterRef("pk")).exclude(grader=None)
    last = Subquery(trials.order_by("-pk").values("grader")[:1])
    found = DatasetVersion.objects.filter(pk=version.pk).values_list("report", last)
    version.report, tried = found.get()
    return next((grader for grader in graders if grader.grader_id == tried), None) if tried else None


def _find_fitting_grader(
    version: DatasetVersion, graders: Iterable[GraderVersion], environment: EnvironmentVersion | None
) -> GraderVersion | None:
    newest = islice(graders, TRIED)
    return next(
        (
            grader
            for grader in newest
            if reads_episode(grader.parsed) == bool(environment)
            and not required_fields.find_refusal(grader, version)
        ),
        next(iter(graders), None),
    )


def read_settings(query: Mapping[str, str]) -> dict[str, object]:
    """Return the settings that a URL names, by their fields: ``grpo__epochs=3&seed=7``.

    Values are JSON. Settings that the job spec refuses are left out.
    """
    found: dict[str, object] = {}
    for name, text in query.items():
        section, _, setting = name.partition("__")
        if name != "seed" and setting not in getattr(SECTIONS.get(section), "model_fields", ()):
            continue
        try:
            value = load_json(text)
            check_settings({"seed": value} if name == "seed" else {section: {setting: value}})
        except (ValueError, RecursionError):
            continue
        found[name] = value
    return found
