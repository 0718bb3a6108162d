"""Create, change, delete and restore graders; try them on rows; save known answers."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from webapp.datasets.models import Dataset, DatasetVersion
from webapp.graders.models import Grader, GraderCheck, GraderTest, GraderTrial, GraderVersion
from webapp.graders.queues import TRIALS, request_check
from webapp.graders.rows import Grade, Row
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from workers import grading
from workers.contract.json_types import JsonObject

GOOD_LIMIT = 0.7  # least reward of a known-good answer, unless its author sets another
MAX_TESTS = 200
NAME_LENGTH = 120


def hash_definition(definition: JsonObject) -> str:
    """Return the hash of the definition's normal form. Raises ``grading.GraderInvalid``."""
    return grading.sha256(grading.validate(definition))


@transaction.atomic
def create_grader(team: Team, user: User | None, name: str, definition: JsonObject) -> Grader:
    """Create a grader with its first version. Raises ``workers.grading.GraderInvalid``."""
    sha256 = hash_definition(definition)
    grader = Grader.objects.create(team=team, name=name, created_by=user)
    version = GraderVersion.objects.create(
        grader=grader, number=1, definition=definition, sha256=sha256, created_by=user
    )
    record_event(team, user, "created grader", grader)
    request_check(version)
    return grader


@transaction.atomic
def add_version(
    grader: Grader, user: User | None, definition: JsonObject, note: str = ""
) -> tuple[GraderVersion, bool]:
    """Return the version with this definition, and True if it is new.

    A definition that means the same as the newest version's makes no version. ``note`` says what changed.
    Raises ``workers.grading.GraderInvalid``.
    """
    sha256 = hash_definition(definition)
    latest = Grader.objects.select_for_update().get(pk=grader.pk).versions.first()
    if latest and latest.sha256 == sha256:
        return latest, False
    version = GraderVersion.objects.create(
        grader=grader,
        number=latest.number + 1 if latest else 1,
        definition=definition,
        sha256=sha256,
        note=note,
        created_by=user,
    )
    record_event(grader.team, user, "saved grader", version)
    request_check(version)
    return version, True


@transaction.atomic
def find_or_create_version(team: Team, user: User | None, definition: JsonObject) -> GraderVersion:
    """Return the team's newest version with this definition; without one, make it.

    It goes to the team's grader of that name, unless known answers would keep jobs from it until a worker has
    checked it. Raises ``workers.grading.GraderInvalid``.
    """
    parsed = grading.validate(definition)
    versions = GraderVersion.objects.filter(grader__team=team, grader__deleted_at=None)
    found = versions.filter(sha256=grading.sha256(parsed)).select_related("grader__team").order_by("-pk")
    if version := found.first():
        return version
    name = parsed.name[:NAME_LENGTH] or "grader"
    grader = Grader.objects.alive().filter(team=team, name=name, tests=None).first()
    if grader:
        return add_version(grader, user, definition)[0]
    return create_grader(team, user, name, definition).versions.get()


@transaction.atomic
def describe_grader(grader: Grader, user: User, name: str, description: str) -> None:
    """Change the grader's name and description. Pages of its jobs show the new name too."""
    before = grader.name
    grader.name, grader.description = name, description
    grader.save(update_fields=["name", "description"])
    changed = f"{before} to {name}" if name != before else name
    record_event(grader.team, user, "renamed grader" if name != before else "described grader", changed)


@transaction.atomic
def delete_grader(grader: Grader, user: User) -> None:
    """Hide the grader. Its versions stay: jobs pin them."""
    if grader.mark_deleted():
        record_event(grader.team, user, "deleted grader", grader)


@transaction.atomic
def restore_grader(grader: Grader, user: User) -> None:
    """Undo ``delete_grader``."""
    if grader.mark_restored():
        record_event(grader.team, user, "restored grader", grader)


@transaction.atomic
def set_checking(
    grader: Grader,
    user: User,
    *,
    dataset: Dataset | None,
    reference_field: str,
    cheat_threshold: float,
    full_answer: str = "",
) -> None:
    """Set how versions are checked, and check the newest one again."""
    grader.dataset, grader.reference_field = dataset, reference_field
    grader.cheat_threshold, grader.full_answer = cheat_threshold, full_answer
    grader.save(update_fields=["dataset", "reference_field", "full_answer", "cheat_threshold"])
    record_event(grader.team, user, "changed the checks of grader", grader)
    _check_newest(grader)


def _check_newest(grader: Grader) -> None:
    newest = grader.versions.first()
    assert newest is not None, f"{grader} has no version"
    request_check(newest)


# --- trials ----------------------------------------------------------------------------------------


@transaction.atomic
def create_trial(
    team: Team,
    user: User | None,
    definition: JsonObject,
    rows: list[Row],
    choices: Mapping[str, object],
    *,
    grader: Grader | None = None,
    dataset_version: DatasetVersion | None = None,
    base_model: BaseModel | None = None,
    second: GraderVersion | None = None,
) -> GraderTrial:
    """Enqueue a trial: a worker grades answers to ``rows`` in the sandbox.

    ``choices["answers"]`` lists the sources of answers: ``field`` (of the name ``choices["field"]``),
    ``typed`` (``choices["answer"]``) and ``base_model`` (``choices["samples"]`` completions of
    ``base_model``). Raises ``workers.grading.GraderInvalid``.
    """
    grading.validate(definition)
    trial = GraderTrial.objects.create(
        team=team,
        grader=grader,
        definition=definition,
        dataset_version=dataset_version,
        base_model=base_model,
        second=second,
        choices=choices,
        rows=rows,
        created_by=user,
    )
    TRIALS.notify(trial.pk)
    return trial


# --- known answers ---------------------------------------------------------------------------------


class TooManyTests(ValueError):
    """The grader has as many known answers as a check can run."""

    def __init__(self) -> None:
        super().__init__(f"A grader has at most {MAX_TESTS} known answers. Delete one first.")


@transaction.atomic
def keep_answer(
    grader: Grader, user: User, row: Row, answer: str, kind: str, *,
    limit: float | None = None, note: str = "",
) -> GraderTest:  # fmt: skip
    """Save a known answer: every version must reward it as its ``kind`` deserves. Raises ``TooManyTests``.

    Without a ``limit`` a good answer must earn ``GOOD_LIMIT``, and a bad one at most what a cheat may.
    """
    if grader.tests.count() >= MAX_TESTS:
        raise TooManyTests
    if limit is None:
        limit = GOOD_LIMIT if kind == GraderTest.Kind.GOOD else grader.cheat_threshold
    test = GraderTest.objects.create(
        grader=grader, row=row, answer=answer, kind=kind, limit=limit, note=note, created_by=user
    )
    record_event(grader.team, user, f"kept as known {kind}", grader)
    _check_newest(grader)
    return test


@transaction.atomic
def delete_test(test: GraderTest, user: User) -> None:
    """Delete a known answer."""
    grader, kind = test.grader, test.kind
    test.delete()
    record_event(grader.team, user, f"forgot a known {kind} answer of", grader)
    _check_newest(grader)


def list_unmet_conditions(version: GraderVersion) -> list[str]:
    """Return why a job may not use this version yet: known answers that it does not reward correctly.

    A grader without known answers has no conditions; cheats only warn.
    """
    tests = list(version.grader.tests.all())
    check = GraderCheck.objects.filter(version=version).first()
    return list_unmet_tests(version, tests, check) if tests else []


def list_unmet_tests(version: GraderVersion, tests: list[GraderTest], check: GraderCheck | None) -> list[str]:
    """Return the same from a check that the caller has read; None if the version has none."""
    outcomes: dict[str, Grade] = check.results.get("tests", {}) if check else {}
    unmet: list[str] = []
    for test in tests:
        outcome = outcomes.get(test.uid)
        if outcome and not test.passed_by(outcome["reward"]):
            unmet.append(_describe_failure(version, test, outcome["reward"]))
    if not_checked := sum(test.uid not in outcomes for test in tests):
        unmet.append(_describe_missing_check(version, not_checked, check))
    return unmet


def _describe_failure(version: GraderVersion, test: GraderTest, reward: float | None) -> str:
    label = test.get_kind_display().lower()
    graded = "could not grade it" if reward is None else f"scores it {reward:.3f}"
    due = f"at least {test.limit:g}" if test.kind == GraderTest.Kind.GOOD else f"at most {test.limit:g}"
    excerpt = " ".join(test.answer.split())[:80]
    answer = f"“{excerpt}”" if excerpt else "an empty answer"
    return f"{version} {graded}, but a {label} answer must earn {due}: {answer}"


def _describe_missing_check(version: GraderVersion, count: int, check: GraderCheck | None) -> str:
    answers = "1 known answer" if count == 1 else f"{count} known answers"
    if check and check.pending:
        return f"{version} is still being checked on {answers}. Wait until a worker has done so."
    if check and check.state == GraderCheck.State.FAILED:
        message = check.error.message if check.error else ""
        return f"The check of {version} failed, so {answers} were not graded: {message}"
    return f"{version} was not checked on {answers} yet. Check it."
