"""Judge cards, which compare a judge with people's labels, and checks of endpoints."""

from __future__ import annotations

import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TypedDict

from webapp.calibration import services as calibration
from webapp.calibration import statistics
from webapp.calibration.models import JudgeCard
from webapp.calibration.queues import CARDS
from webapp.calibration.statistics import JudgedAnswer
from webapp.core.fields import replace_nul
from webapp.endpoints.models import Endpoint, EndpointCheck
from webapp.endpoints.queues import ENDPOINT_CHECKS
from webapp.work.errors import WorkFailed
from workers import grading
from workers.bridge.graders.gradings import Completion, grade_completions
from workers.bridge.running import run_item
from workers.contract.graders import LabelModelGrader, RankingGrader, ScoreModelGrader
from workers.contract.json_types import JsonObject
from workers.grading import GradeResult

THRESHOLD = 0.5  # of the scaled range 0 to 1: above it a judge's reward counts as passing
OTHER_SEED = 1


class Word(TypedDict):
    """A labelled answer with the judge's reward, as the card shows it."""

    text: str
    prompt: str
    label: int
    reward: float | None
    explanation: str | None


# --- endpoints -------------------------------------------------------------------------------------


def check_endpoint(check_id: int) -> None:
    """Run a queued check: ask one small question as graders do."""
    run_item(ENDPOINT_CHECKS, check_id, _ask)


def _ask(check: EndpointCheck, folder: Path, lost: threading.Event) -> None:
    endpoint, answers = check.endpoint, [Completion("4", {}, "")]
    (result,) = grade_completions(
        endpoint.team, _build_question(endpoint), answers, folder, lost, use_cache=False
    )
    if result.error_class:
        raise WorkFailed(result.error_detail or "")
    ENDPOINT_CHECKS.finish(check, seconds=result.seconds)


def _build_question(endpoint: Endpoint) -> JsonObject:
    question = "Is {{sample.output_text}} the sum of 2 + 2?"
    return {
        "type": "label_model",
        "name": "check",
        "model": endpoint.name,
        "input": [{"role": "user", "content": question}],
        "labels": ["yes", "no"],
        "passing_labels": ["yes"],
    }


# --- cards -----------------------------------------------------------------------------------------


def make_card(card_id: int) -> None:
    """Run a queued card."""
    run_item(CARDS, card_id, _make_card)


def _make_card(card: JudgeCard, folder: Path, lost: threading.Event) -> None:
    CARDS.finish(card, results=_measure(card, folder, lost))


def _measure(card: JudgeCard, folder: Path, lost: threading.Event) -> dict[str, object]:
    definition = card.grader_version.definition
    answers = [Completion(label["text"], label["item"], label["group"]) for label in card.labels]
    grade = partial(
        grade_completions, card.team, completions=answers, folder=folder, lost=lost, use_cache=False
    )
    first = grade(definition)
    again = grade(_swap_options(definition), seed=OTHER_SEED)
    words: list[Word] = [
        {
            "text": replace_nul(label["text"]),
            "prompt": replace_nul(label["prompt"]),
            "label": label["value"],
            "reward": _scale(definition, result.reward),
            "explanation": result.explanation or result.error_detail,
        }
        for label, result in zip(card.labels, first, strict=True)
    ]
    judged = [
        JudgedAnswer(word["label"], reward, len(word["text"]))
        for word in words
        if (reward := word["reward"]) is not None
    ]
    if len(judged) < calibration.FEWEST_LABELS:
        failure = next(result.error_detail for result in first if result.reward is None)
        raise WorkFailed(
            f"The judge graded {len(judged)} of {len(words)} answers; a card needs "
            f"{calibration.FEWEST_LABELS}. {failure}",
            "Check its endpoint, then make the card again.",
        )
    costs = [usage["cost"] for result in first for usage in result.usage.values()]
    agreement = partial(statistics.measure_passing_kappa, threshold=THRESHOLD)
    return {
        "labels": len(words),
        "failures": len(words) - len(judged),
        "agreed": statistics.measure_raw_agreement(judged, THRESHOLD),
        "kappa": asdict(statistics.bootstrap_interval(judged, agreement)),
        "levels": asdict(statistics.bootstrap_interval(judged, statistics.measure_levels_kappa)),
        "slope": asdict(statistics.bootstrap_interval(judged, statistics.measure_length_slope)),
        "consistency": _measure_consistency(definition, first, again),
        "cost": fmean(costs) if costs else None,
        "judges": calibration.hash_judges(card.grader_version),
        "words": sorted(words, key=_disagreement, reverse=True),
    }


def _scale(definition: JsonObject, reward: float | None) -> float | None:
    """Scale a reward from the grader's range to 0 to 1."""
    grader = grading.validate(definition)
    low, high = grader.range if isinstance(grader, ScoreModelGrader) else (0.0, 1.0)
    return None if reward is None else min(1.0, max(0.0, (reward - low) / (high - low)))


def _swap_options(definition: JsonObject) -> JsonObject:
    """Return the question with its options in reverse order, if it has options."""
    grader = grading.validate(definition)
    if isinstance(grader, LabelModelGrader):
        return definition | {"labels": [*reversed(grader.labels)]}
    return definition


def _measure_consistency(
    definition: JsonObject, first: list[GradeResult], again: list[GradeResult]
) -> dict[str, object]:
    """Measure how often the judge agrees with itself: with options swapped, reordered, or asked again."""
    kinds = {LabelModelGrader: "swap", RankingGrader: "order"}
    kind = kinds.get(type(grading.validate(definition)), "repeat")
    pairs = [
        (_scale(definition, a.reward), _scale(definition, b.reward))
        for a, b in zip(first, again, strict=True)
    ]
    same = [(a > THRESHOLD) == (b > THRESHOLD) for a, b in pairs if a is not None and b is not None]
    return {"kind": kind, "value": fmean(same) if same else None}


def _disagreement(word: Word) -> float:
    """Return the distance of label and reward, both from 0 to 1; -1 without a reward, to sort it last."""
    if word["reward"] is None:
        return -1.0
    return abs(statistics.to_reward(word["label"]) - float(word["reward"]))
