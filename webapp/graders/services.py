"""Graders: make versions, try them on rows, keep known answers, throw graders away and bring them back."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from webapp.datasets.models import Dataset, DatasetVersion
from webapp.graders.models import Grader, GraderCheck, GraderTest, GraderTrial, GraderVersion
from webapp.graders.queues import TRIALS, request_check
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User
from webapp.teams.services import record
from workers import grading

Json = dict[str, Any]
GOOD_LIMIT = 0.7  # what a known-good answer must earn unless somebody says otherwise
MAX_TESTS = 200


def sha256_of(definition: Json) -> str:
    """The hash of the definition's normal form. Raises ``grading.GraderInvalid``."""
    return grading.sha256(grading.validate(definition))


@transaction.atomic
def create_grader(team: Team, user: User | None, name: str, definition: Json) -> Grader:
    """A new grader with its first version. Raises ``workers.grading.GraderInvalid``."""
    sha256 = sha256_of(definition)
    grader = Grader.objects.create(team=team, name=name, created_by=user)
    version = GraderVersion.objects.create(
        grader=grader, number=1, definition=definition, sha256=sha256, created_by=user
    )
    record(team, user, "created grader", grader)
    request_check(version)
    return grader


@transaction.atomic
def add_version(
    grader: Grader, user: User | None, definition: Json, note: str = ""
) -> tuple[GraderVersion, bool]:
    """The version that holds ``definition``, and whether it is new: unchanged meaning makes no version.

    ``note`` says what changed.
    Raises ``workers.grading.GraderInvalid``.
    """
    sha256 = sha256_of(definition)
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
    record(grader.team, user, "saved grader", version)
    request_check(version)
    return version, True


@transaction.atomic
def describe_grader(grader: Grader, user: User, name: str, description: str) -> None:
    """Give the grader another name and description. Jobs show the new name too."""
    before = grader.name
    grader.name, grader.description = name, description
    grader.save(update_fields=["name", "description"])
    changed = f"{before} to {name}" if name != before else name
    record(grader.team, user, "renamed grader" if name != before else "described grader", changed)


@transaction.atomic
def delete_grader(grader: Grader, user: User) -> None:
    """Hide the grader. Its versions stay: jobs pin them."""
    if grader.mark_deleted():
        record(grader.team, user, "deleted grader", grader)


@transaction.atomic
def restore_grader(grader: Grader, user: User) -> None:
    """Undo ``delete_grader``."""
    if grader.mark_restored():
        record(grader.team, user, "restored grader", grader)


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
    """How versions are checked from now on; the newest is checked again."""
    grader.dataset, grader.reference_field = dataset, reference_field
    grader.cheat_threshold, grader.full_answer = cheat_threshold, full_answer
    grader.save(update_fields=["dataset", "reference_field", "full_answer", "cheat_threshold"])
    record(grader.team, user, "changed the checks of grader", grader)
    _check_newest(grader)


def _check_newest(grader: Grader) -> None:
    newest = grader.versions.first()
    assert newest is not None, f"{grader} has no version"
    request_check(newest)


# --- trials ----------------------------------------------------------------------------------------


@transaction.atomic
def create_trial(
    team: Team,
    user: User,
    definition: Json,
    rows: list[Json],
    choices: Json,
    *,
    grader: Grader | None = None,
    dataset_version: DatasetVersion | None = None,
    base_model: BaseModel | None = None,
    second: GraderVersion | None = None,
) -> GraderTrial:
    """Have a worker grade answers to ``rows`` in the sandbox; ``choices`` says which answers.

    ``answers`` is a list out of ``field`` (with ``field``), ``typed`` (with ``answer``) and ``base_model``
    (with ``samples``, written by ``base_model``). Raises ``workers.grading.GraderInvalid``.
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
    """A grader has as many known answers as a check can run."""

    def __init__(self) -> None:
        super().__init__(f"A grader has at most {MAX_TESTS} known answers. Delete one first.")


@transaction.atomic
def keep_answer(
    grader: Grader, user: User, row: Json, answer: str, kind: str, *,
    limit: float | None = None, note: str = "",
) -> GraderTest:  # fmt: skip
    """Keep an answer that every version must pay as its ``kind`` deserves. Raises ``TooManyTests``.

    Without a ``limit`` a good answer must earn ``GOOD_LIMIT`` and a bad one at most what a cheat may.
    """
    if grader.tests.count() >= MAX_TESTS:
        raise TooManyTests
    if limit is None:
        limit = GOOD_LIMIT if kind == GraderTest.Kind.GOOD else grader.cheat_threshold
    test = GraderTest.objects.create(
        grader=grader, row=row, answer=answer, kind=kind, limit=limit, note=note, created_by=user
    )
    record(grader.team, user, f"kept as known {kind}", grader)
    _check_newest(grader)
    return test


@transaction.atomic
def delete_test(test: GraderTest, user: User) -> None:
    """Forget a known answer."""
    grader, kind = test.grader, test.kind
    test.delete()
    record(grader.team, user, f"forgot a known {kind} answer of", grader)
    _check_newest(grader)


def unmet_conditions(version: GraderVersion) -> list[str]:
    """Why a job may not use this version yet: known answers that it has not been seen to pay rightly.

    A grader without known answers has no conditions; cheats only warn.
    """
    tests = list(version.grader.tests.all())
    return unmet_by(version, tests, check_of(version)) if tests else []


def unmet_by(version: GraderVersion, tests: list[GraderTest], check: GraderCheck | None) -> list[str]:
    """The same by a check that is at hand, if there is one."""
    seen: Json = check.results.get("tests", {}) if check else {}
    open_tests = [test for test in tests if test.uid not in seen]
    wrong = [test for test in tests if test.uid in seen and not test.passed_by(seen[test.uid]["reward"])]
    unmet = [_wrongly_paid(version, test, seen[test.uid]) for test in wrong]
    if open_tests:
        unmet.append(_not_yet_seen(version, len(open_tests), check))
    return unmet


def check_of(version: GraderVersion) -> GraderCheck | None:
    """The version's check as it stands now, if it has been asked for."""
    return GraderCheck.objects.filter(version=version).first()


def _wrongly_paid(version: GraderVersion, test: GraderTest, outcome: Json) -> str:
    reward, label = outcome["reward"], test.get_kind_display().lower()
    paid = "could not grade it" if reward is None else f"pays it {reward:.3f}"
    due = f"at least {test.limit:g}" if test.kind == GraderTest.Kind.GOOD else f"at most {test.limit:g}"
    return f"{version} {paid}, but a {label} answer must earn {due}: {_excerpt(test.answer)}"


def _excerpt(answer: str) -> str:
    shown = " ".join(answer.split())[:80]
    return f"“{shown}”" if shown else "an empty answer"


def _not_yet_seen(version: GraderVersion, count: int, check: GraderCheck | None) -> str:
    answers = "1 known answer" if count == 1 else f"{count} known answers"
    if check and check.pending:
        return f"{version} is still being checked on {answers}. Wait until a worker has done so."
    if check and check.state == GraderCheck.State.FAILED:
        message = (check.error or {}).get("message", "")
        return f"The check of {version} failed, so {answers} were not graded: {message}"
    return f"{version} was not checked on {answers} yet. Have it checked."
