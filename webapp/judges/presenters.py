"""Template contexts of the pages of judges."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypedDict

from django.db.models import QuerySet

from webapp.calibration import services as calibration
from webapp.calibration.models import JudgeCard, LabelTask
from webapp.calibration.statistics import LEVELS, to_reward
from webapp.endpoints.models import Endpoint
from webapp.evaluations import voting
from webapp.evaluations.models import Vote
from webapp.graders.definitions.parsing import field_as_text, find_item_fields
from webapp.graders.listing import newest_versions
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.graders.rows import Row
from webapp.teams.models import Team
from workers import grading

PENDING = (JudgeCard.State.QUEUED, JudgeCard.State.RUNNING)
MOST_TRIALS = 10
MOST_DISAGREEMENTS = 10
PLOT_WIDTH, PLOT_HEIGHT, JITTER = 400, 200, 22


@dataclass(frozen=True)
class Use:
    """A grader whose newest version asks a judge, with the judge's agreement with people, if known."""

    grader: Grader
    version: GraderVersion
    kappa: calibration.Kappa | None


class JudgedLabel(TypedDict):
    """A labelled answer with the judge's reward, scaled to 0 to 1, as ``JudgeCard.results`` stores it."""

    text: str
    prompt: str
    label: int
    reward: float | None
    explanation: str


class Point(TypedDict):
    """A point of the plot, in its coordinates."""

    x: str
    y: str
    label: int
    reward: float


def list_uses(team: Team, endpoints: list[Endpoint]) -> list[tuple[Endpoint, list[Use]]]:
    """Return each endpoint with the graders that ask it."""
    versions = list(
        newest_versions().filter(grader__team=team, grader__deleted_at=None).select_related("grader__team")
    )
    kappas = calibration.find_agreements(team, versions)
    uses: dict[str, list[Use]] = {}
    for version in versions:
        for judge in grading.judge_models(version.parsed):
            uses.setdefault(judge, []).append(Use(version.grader, version, kappas[version.pk]))
    return [(endpoint, uses.get(endpoint.name, [])) for endpoint in endpoints]


def build_labelling_context(task: LabelTask, wanted: int | None) -> dict[str, object]:
    """Return the answer of this index, by default the first without a label; none past the end."""
    labels = {label.answer: label for label in task.labels.select_related("labelled_by")}
    count = len(task.answers)
    if wanted is None:
        index = next((index for index in range(count) if index not in labels), count)
    else:
        index = min(wanted, count)
    answer = task.answers[index] if index < count else None
    row, version = task.rows[answer["row"]] if answer else None, task.grader.versions.first()
    return {
        "task": task,
        "index": index,
        "number": index + 1,
        "before": index - 1 if index else None,
        "answer": answer,
        "row": row,
        "fields": _list_judged_fields(row, version) if row and version else [],
        "given": labels.get(index),
        "labelled": len(labels),
        "version": version,
        "fewest": calibration.FEWEST_LABELS,
        "all_labels": len(calibration.list_labels(task.grader)),
    }


def _list_judged_fields(row: Row, version: GraderVersion) -> list[tuple[str, str]]:
    """Return the fields of the row that the judge gets besides the prompt: those that the grader names."""
    named = [(name, field_as_text(row["item"], name)) for name in find_item_fields(version.definition)]
    return [(name, text) for name, text in named if text is not None]


def build_card_context(version: GraderVersion, votes: QuerySet[Vote]) -> dict[str, object]:
    """Return the valid card, what another one needs, and the agreement of ``votes`` with the version."""
    grader = version.grader
    newest = version.judge_cards.first()
    card = calibration.find_card(version)
    trials = grader.trials.filter(state=GraderTrial.State.FINISHED).defer("rows", "results")[:MOST_TRIALS]
    labels = len(calibration.list_labels(grader))
    return {
        "version": version,
        "grader": grader,
        "judges": grading.judge_models(version.parsed),
        "newest": newest,
        "pending": newest is not None and newest.state in PENDING,
        "card": card,
        "points": plot_labels(card) if card else [],
        "ticks": [{"label": n, "x": f"{_x(n):.0f}"} for n in range(1, LEVELS + 1)],
        "disagreements": list_disagreements(card) if card else [],
        "tasks": grader.label_tasks.prefetch_related("labels"),
        "trials": trials,
        "labels": labels,
        "fewest": calibration.FEWEST_LABELS,
        "votes": voting.measure_agreement(votes.filter(row__evaluation__job__grader_version=version)),
        "lacking": max(0, calibration.FEWEST_LABELS - labels),
    }


def list_disagreements(card: JudgeCard) -> list[JudgedLabel]:
    """Return the answers on which judge and label differ most, then those that the judge did not grade."""
    judged: list[JudgedLabel] = card.results["words"]  # sorted by disagreement
    differing = [each for each in judged if each["reward"] != to_reward(each["label"])]
    return differing[:MOST_DISAGREEMENTS]


def plot_labels(card: JudgeCard) -> list[Point]:
    """Return points of reward against label, spread sideways so that equal ones do not cover each other."""
    dice = random.Random(card.pk)  # noqa: S311 -- jitter of a plot
    judged: list[JudgedLabel] = card.results["words"]
    return [
        {
            "x": f"{_x(each['label']) + dice.uniform(-JITTER, JITTER):.1f}",
            "y": f"{PLOT_HEIGHT * (1 - each['reward']):.1f}",
            "label": each["label"],
            "reward": each["reward"],
        }
        for each in judged
        if each["reward"] is not None
    ]


def _x(label: int) -> float:
    return (label - 0.5) * PLOT_WIDTH / LEVELS
