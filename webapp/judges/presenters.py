"""What the pages of judges show."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from webapp.calibration import services as calibration
from webapp.calibration.models import JudgeCard, LabelTask
from webapp.calibration.statistics import LEVELS, share
from webapp.endpoints.models import Endpoint
from webapp.evaluations import voting
from webapp.evaluations.models import Vote
from webapp.graders.definitions.parsing import field_as_text, find_item_fields
from webapp.graders.listing import newest_versions
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.teams.models import Team
from workers import grading

PENDING = (JudgeCard.State.QUEUED, JudgeCard.State.RUNNING)
MOST_TRIALS = 10
MOST_DISAGREEMENTS = 10
PLOT_WIDTH, PLOT_HEIGHT, JITTER = 400, 200, 22
Json = dict[str, Any]


@dataclass(frozen=True)
class Use:
    """A grader whose newest version asks a judge, and how far people agree with it (``None``: unknown)."""

    grader: Grader
    version: GraderVersion
    kappa: Json | None


def with_uses(team: Team, endpoints: list[Endpoint]) -> list[tuple[Endpoint, list[Use]]]:
    """Each endpoint with the graders that ask it."""
    versions = list(
        newest_versions().filter(grader__team=team, grader__deleted_at=None).select_related("grader__team")
    )
    kappas = calibration.agreements(team, versions)
    asking: dict[str, list[Use]] = {}
    for version in versions:
        for judge in grading.judge_models(version.parsed):
            asking.setdefault(judge, []).append(Use(version.grader, version, kappas[version.pk]))
    return [(endpoint, asking.get(endpoint.name, [])) for endpoint in endpoints]


def labelling(task: LabelTask, at: int | None) -> Json:
    """The answer at a place, by default the first without a label; past the end there is none."""
    given = {label.answer: label for label in task.labels.select_related("labelled_by")}
    unlabelled = [place for place in range(len(task.answers)) if place not in given]
    place = next(iter(unlabelled), len(task.answers)) if at is None else min(at, len(task.answers))
    shown = task.answers[place] if place < len(task.answers) else None
    row, version = task.rows[shown["row"]] if shown else None, task.grader.versions.first()
    return {
        "task": task,
        "place": place,
        "number": place + 1,
        "before": place - 1 if place else None,
        "answer": shown,
        "row": row,
        "fields": _fields(row, version) if row and version else [],
        "given": given.get(place),
        "labelled": len(given),
        "version": version,
        "fewest": calibration.FEWEST_LABELS,
        "all_labels": len(calibration.labels_of(task.grader)),
    }


def _fields(row: Json, version: GraderVersion) -> list[tuple[str, str]]:
    """What the judge is told of the row besides its prompt: the fields that the grader names."""
    named = [(name, field_as_text(row["item"], name)) for name in find_item_fields(version.definition)]
    return [(name, text) for name, text in named if text is not None]


def card_page(version: GraderVersion, votes: QuerySet[Vote]) -> Json:
    """The newest card, what is needed for another, and which of these votes are on the version's answers."""
    grader = version.grader
    newest = version.judge_cards.first()
    finished = calibration.card_for(version)
    trials = grader.trials.filter(state=GraderTrial.State.FINISHED).defer("rows", "results")[:MOST_TRIALS]
    labels = len(calibration.labels_of(grader))
    return {
        "version": version,
        "grader": grader,
        "judges": grading.judge_models(version.parsed),
        "newest": newest,
        "pending": newest is not None and newest.state in PENDING,
        "card": finished,
        "points": plot(finished) if finished else [],
        "ticks": [{"label": n, "x": f"{_x(n):.0f}"} for n in range(1, LEVELS + 1)],
        "disagreements": disagreements(finished) if finished else [],
        "tasks": grader.label_tasks.prefetch_related("labels"),
        "trials": trials,
        "labels": labels,
        "fewest": calibration.FEWEST_LABELS,
        "votes": voting.agreement(votes.filter(row__evaluation__job__grader_version=version)),
        "lacking": max(0, calibration.FEWEST_LABELS - labels),
    }


def disagreements(card: JudgeCard) -> list[Json]:
    """The answers on which judge and label are furthest apart, then those that it could not grade."""
    words = [word for word in card.results["words"] if word["reward"] != share(word["label"])]
    return words[:MOST_DISAGREEMENTS]


def plot(card: JudgeCard) -> list[Json]:
    """Points of reward against label, spread a little sideways so that equal ones can be told apart."""
    dice = random.Random(card.pk)  # noqa: S311 -- places points
    return [
        {
            "x": f"{_x(word['label']) + dice.uniform(-JITTER, JITTER):.1f}",
            "y": f"{PLOT_HEIGHT * (1 - word['reward']):.1f}",
            "label": word["label"],
            "reward": word["reward"],
        }
        for word in card.results["words"]
        if word["reward"] is not None
    ]


def _x(label: int) -> float:
    return (label - 0.5) * PLOT_WIDTH / LEVELS
