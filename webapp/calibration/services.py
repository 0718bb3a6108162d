"""Collect people's labels, and make judge cards of them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from django.db import transaction

from webapp.calibration.models import HumanLabel, JudgeCard, LabelTask
from webapp.calibration.queues import CARDS
from webapp.endpoints.models import Endpoint
from webapp.endpoints.services import endpoint_spec, endpoints_for
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.teams.models import Team, User
from webapp.teams.services import record
from workers import grading

FEWEST_LABELS = 30
Json = dict[str, Any]


class TooFewLabels(ValueError):
    """A card needs at least ``FEWEST_LABELS`` labels."""


# --- labels ----------------------------------------------------------------------------------------


@transaction.atomic
def create_label_task(grader: Grader, user: User, trial: GraderTrial) -> LabelTask:
    """The trial's answers, each once, in an order that tells nobody where they come from.

    The task of these answers that is there already, if there is one: no answer counts twice.
    """
    distinct = {(result["row"], result["answer"]): None for result in trial.results}
    answers = [{"row": row, "text": text} for row, text in distinct]
    random.Random(trial.pk).shuffle(answers)  # noqa: S311 -- hides nothing
    task, _ = LabelTask.objects.get_or_create(
        team=grader.team, grader=grader, rows=trial.rows, answers=answers, defaults={"created_by": user}
    )
    return task


class LabelledMeanwhile(ValueError):
    """Somebody else has labelled the answer, which this person was not shown."""


@transaction.atomic
def label(task: LabelTask, user: User, answer: int, value: int, seen: int | None = None) -> HumanLabel:
    """What ``user`` thinks of an answer; a second thought replaces the first.

    Another person's label is replaced only by someone who has ``seen`` it. Raises ``LabelledMeanwhile``.
    """
    before = task.labels.select_for_update().filter(answer=answer).first()
    if before and before.labelled_by != user and before.value != seen:
        raise LabelledMeanwhile
    given, _ = HumanLabel.objects.update_or_create(
        task=task, answer=answer, defaults={"value": value, "labelled_by": user}
    )
    return given


def labels_of(grader: Grader) -> list[Json]:
    """Every label of the grader's answers, as a card keeps them."""
    tasks = grader.label_tasks.prefetch_related("labels")
    return [_labelled(task, given) for task in tasks for given in task.labels.all()]


def _labelled(task: LabelTask, given: HumanLabel) -> Json:
    answer = task.answers[given.answer]
    row = task.rows[answer["row"]]
    return {
        "text": answer["text"],
        "item": row["item"],
        "prompt": row["messages"][-1]["content"],
        "group": f"{task.uid} {row['row_id']}",
        "value": given.value,
    }


# --- cards -----------------------------------------------------------------------------------------


@transaction.atomic
def create_card(version: GraderVersion, user: User) -> JudgeCard:
    """Have a worker hold the judge's word against the labels. Raises ``TooFewLabels``."""
    labels = labels_of(version.grader)
    if len(labels) < FEWEST_LABELS:
        raise TooFewLabels(f"A card needs {FEWEST_LABELS} labels; there are {len(labels)}.")
    card = JudgeCard.objects.create(
        team=version.grader.team, grader_version=version, labels=labels, created_by=user
    )
    CARDS.notify(card.pk)
    record(version.grader.team, user, "made judge card", version)
    return card


def card_for(version: GraderVersion) -> JudgeCard | None:
    """The newest finished card of the same definition, made with the judges that answer to its names now."""
    finished = JudgeCard.objects.filter(
        team=version.grader.team, grader_version__sha256=version.sha256, state=JudgeCard.State.FINISHED
    ).select_related("grader_version")
    now = judge_revisions(version)
    return next((card for card in finished if card.results.get("judges") == now), None)


def judge_revisions(version: GraderVersion) -> dict[str, str]:
    """What stands behind each judge that the version names: a hash of address and model."""
    endpoints = endpoints_for(version.grader.team, version.parsed)
    return {name: endpoint_spec(endpoint).revision for name, endpoint in endpoints.items()}


def asks_judge(version: GraderVersion) -> bool:
    """Whether the version's grader asks a model."""
    return bool(grading.judge_models(version.parsed))


def agreements(team: Team, versions: Iterable[GraderVersion]) -> dict[int, Json | None]:
    """How far people agree with each of the team's ``versions`` that ask a judge, by the version's key.

    Cohen's kappa as ``{value, low, high}``, of the newest card that counts; ``None`` without one.
    """
    asked = {version: grading.judge_models(version.parsed) for version in set(versions)}
    asking = {version: models for version, models in asked.items() if models}
    if not asking:
        return {}
    endpoints = Endpoint.objects.filter(team=team, deleted_at=None).select_related("base_model")
    now = {endpoint.name: endpoint_spec(endpoint).revision for endpoint in endpoints}
    finished = JudgeCard.objects.filter(team=team, state=JudgeCard.State.FINISHED)
    cards = list(finished.values_list("grader_version__sha256", "results__judges", "results__kappa"))

    def measured(version: GraderVersion, models: list[str]) -> Json | None:
        revisions = {name: now[name] for name in models if name in now}
        counting = (kappa or {} for *made, kappa in cards if made == [version.sha256, revisions])
        return next(counting, None)

    return {version.pk: measured(version, models) for version, models in asking.items()}


def uncalibrated(team: Team, versions: Iterable[GraderVersion]) -> set[int]:
    """Which of the team's ``versions`` ask a judge that nobody has held against people's labels, by key."""
    return {key for key, kappa in agreements(team, versions).items() if kappa is None}


def is_uncalibrated(version: GraderVersion) -> bool:
    """Whether the version asks a judge that nobody has held against people's labels."""
    return asks_judge(version) and card_for(version) is None
