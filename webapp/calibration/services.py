"""Collect people's labels of answers, and make judge cards from them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TypedDict

from django.db import transaction

from webapp.calibration.models import HumanLabel, JudgeCard, LabelTask
from webapp.calibration.queues import CARDS
from webapp.endpoints.models import Endpoint
from webapp.endpoints.services import build_endpoint_spec, find_endpoints
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from workers import grading
from workers.contract.json_types import JsonObject

FEWEST_LABELS = 30


class LabelledAnswer(TypedDict):
    """A labelled answer as ``JudgeCard.labels`` stores it. Answers to one prompt share a ``group``."""

    text: str
    item: JsonObject
    prompt: str
    group: str
    value: int


class Kappa(TypedDict):
    """Cohen's kappa with its interval, as JSON."""

    value: float | None
    low: float | None
    high: float | None


class TooFewLabels(ValueError):
    """A card needs at least ``FEWEST_LABELS`` labels."""


# --- labels ----------------------------------------------------------------------------------------


@transaction.atomic
def create_label_task(grader: Grader, user: User, trial: GraderTrial) -> LabelTask:
    """Create a task of the trial's answers, each once, in an order that hides their source.

    Returns the task that exists, if there is one of the same answers: no answer counts twice.
    """
    distinct = {(result["row"], result["answer"]): None for result in trial.results}
    answers = [{"row": row, "text": text} for row, text in distinct]
    random.Random(trial.pk).shuffle(answers)  # noqa: S311 -- no secret
    task, _ = LabelTask.objects.get_or_create(
        team=grader.team, grader=grader, rows=trial.rows, answers=answers, defaults={"created_by": user}
    )
    return task


class LabelledMeanwhile(ValueError):
    """Somebody else labelled the answer after the page was shown."""


@transaction.atomic
def label_answer(task: LabelTask, user: User, answer: int, value: int, seen: int | None = None) -> HumanLabel:
    """Store the user's label of the answer of this index; it replaces an earlier one.

    Another person's label is replaced only by a user who has ``seen`` it. Raises ``LabelledMeanwhile``.
    """
    before = task.labels.select_for_update().filter(answer=answer).first()
    if before and before.labelled_by != user and before.value != seen:
        raise LabelledMeanwhile
    given, _ = HumanLabel.objects.update_or_create(
        task=task, answer=answer, defaults={"value": value, "labelled_by": user}
    )
    return given


def list_labels(grader: Grader) -> list[LabelledAnswer]:
    """Return every labelled answer of the grader, as a card stores them."""
    tasks = grader.label_tasks.prefetch_related("labels")
    return [_build_labelled_answer(task, label) for task in tasks for label in task.labels.all()]


def _build_labelled_answer(task: LabelTask, label: HumanLabel) -> LabelledAnswer:
    answer = task.answers[label.answer]
    row = task.rows[answer["row"]]
    return {
        "text": answer["text"],
        "item": row["item"],
        "prompt": row["messages"][-1]["content"],
        "group": f"{task.uid} {row['row_id']}",
        "value": label.value,
    }


# --- cards -----------------------------------------------------------------------------------------


@transaction.atomic
def create_card(version: GraderVersion, user: User) -> JudgeCard:
    """Enqueue a card: a worker compares the judge's rewards with the labels. Raises ``TooFewLabels``."""
    labels = list_labels(version.grader)
    if len(labels) < FEWEST_LABELS:
        raise TooFewLabels(f"A card needs {FEWEST_LABELS} labels; there are {len(labels)}.")
    card = JudgeCard.objects.create(
        team=version.grader.team, grader_version=version, labels=labels, created_by=user
    )
    CARDS.notify(card.pk)
    record_event(version.grader.team, user, "made judge card", version)
    return card


def find_card(version: GraderVersion) -> JudgeCard | None:
    """Return the newest finished card of the same definition and of the judges connected now."""
    finished = JudgeCard.objects.filter(
        team=version.grader.team, grader_version__sha256=version.sha256, state=JudgeCard.State.FINISHED
    ).select_related("grader_version")
    now = hash_judges(version)
    return next((card for card in finished if card.results.get("judges") == now), None)


def hash_judges(version: GraderVersion) -> dict[str, str]:
    """Return a hash of URL and model for each judge that the version names."""
    endpoints = find_endpoints(version.grader.team, version.parsed)
    return {name: build_endpoint_spec(endpoint).revision for name, endpoint in endpoints.items()}


def asks_judge(version: GraderVersion) -> bool:
    """Return True if the version's grader asks a judge."""
    return bool(grading.judge_models(version.parsed))


def find_agreements(team: Team, versions: Iterable[GraderVersion]) -> dict[int, Kappa | None]:
    """Return Cohen's kappa of judge and people for the ``versions`` that ask a judge, by the version's key.

    It is that of the newest valid card; ``None`` without one.
    """
    models_by_version = {version: grading.judge_models(version.parsed) for version in set(versions)}
    judged = {version: models for version, models in models_by_version.items() if models}
    if not judged:
        return {}
    endpoints = Endpoint.objects.alive().filter(team=team).select_related("base_model")
    now = {endpoint.name: build_endpoint_spec(endpoint).revision for endpoint in endpoints}
    finished = JudgeCard.objects.filter(team=team, state=JudgeCard.State.FINISHED)
    cards = list(finished.values_list("grader_version__sha256", "results__judges", "results__kappa"))

    def find_kappa(version: GraderVersion, models: list[str]) -> Kappa | None:
        revisions = {name: now[name] for name in models if name in now}
        # A card is valid for the same definition, and while its judges are what they were.
        for sha256, judges, kappa in cards:
            if (sha256, judges) == (version.sha256, revisions):
                return kappa or Kappa(value=None, low=None, high=None)
        return None

    return {version.pk: find_kappa(version, models) for version, models in judged.items()}


def find_uncalibrated(team: Team, versions: Iterable[GraderVersion]) -> set[int]:
    """Return the keys of the ``versions`` that ask a judge without a valid card."""
    return {key for key, kappa in find_agreements(team, versions).items() if kappa is None}


def is_uncalibrated(version: GraderVersion) -> bool:
    """Return True if the version asks a judge without a valid card."""
    return asks_judge(version) and find_card(version) is None
