"""Hold a judge's word against people's labels, and see whether an endpoint answers."""

from __future__ import annotations

import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from webapp.calibration import services as calibration
from webapp.calibration import statistics
from webapp.calibration.models import JudgeCard
from webapp.calibration.queues import CARDS
from webapp.calibration.statistics import JudgedAnswer
from webapp.core.fields import storable
from webapp.endpoints.models import Endpoint, EndpointCheck
from webapp.endpoints.queues import ENDPOINT_CHECKS
from webapp.work.errors import WorkFailed
from workers.bridge.gradings import Answer, graded
from workers.bridge.running import run_item
from workers.contract.graders import Grader, LabelModelGrader, RankingGrader, ScoreModelGrader

THRESHOLD = 0.5  # the middle of the scaled range: above it a judge's reward counts as passing
OTHER_SEED = 1
Json = dict[str, Any]


# --- endpoints -------------------------------------------------------------------------------------


def check_endpoint(check_id: int) -> None:
    """Run a queued check: ask one small question in the form that graders use."""
    run_item(ENDPOINT_CHECKS, check_id, _ask)


def _ask(check: EndpointCheck, folder: Path, lost: threading.Event) -> None:
    endpoint, answers = check.endpoint, [Answer("4", {}, "")]
    (result,) = graded(endpoint.team, _question(endpoint), answers, folder, lost, remember=False)
    if result["error_class"]:
        raise WorkFailed(result["error_detail"])
    ENDPOINT_CHECKS.finish(check, seconds=result["seconds"])


def _question(endpoint: Endpoint) -> Json:
    asked = "Is {{sample.output_text}} what 2 + 2 makes?"
    return {
        "type": "label_model",
        "name": "check",
        "model": endpoint.name,
        "input": [{"role": "user", "content": asked}],
        "labels": ["yes", "no"],
        "passing_labels": ["yes"],
    }


# --- cards -----------------------------------------------------------------------------------------


def make_card(card_id: int) -> None:
    """Run a queued card."""
    run_item(CARDS, card_id, _make_card)


def _make_card(card: JudgeCard, folder: Path, lost: threading.Event) -> None:
    CARDS.finish(card, results=_measured(card, folder, lost))


def _measured(card: JudgeCard, folder: Path, lost: threading.Event) -> Json:
    definition, grader = card.grader_version.definition, card.grader_version.parsed
    answers = [Answer(label["text"], label["item"], label["group"]) for label in card.labels]
    grade = partial(graded, card.team, answers=answers, folder=folder, lost=lost, remember=False)
    first = grade(definition)
    again = grade(_swapped(definition, grader), seed=OTHER_SEED)
    scaled = partial(_scaled, grader)
    words = [
        {
            "text": storable(label["text"]),
            "prompt": storable(label["prompt"]),
            "label": label["value"],
            "reward": scaled(result["reward"]),
            "explanation": result["explanation"] or result["error_detail"],
        }
        for label, result in zip(card.labels, first, strict=True)
    ]
    known = [word for word in words if word["reward"] is not None]
    judged = [JudgedAnswer(word["label"], word["reward"], len(word["text"])) for word in known]
    if len(judged) < calibration.FEWEST_LABELS:
        failed = next(result["error_detail"] for result in first if result["reward"] is None)
        few = f"The judge graded {len(judged)} of {len(words)} answers"
        said = f"{few}; a card needs {calibration.FEWEST_LABELS}."
        raise WorkFailed(f"{said} {failed}", "Check its endpoint, then make the card again.")
    costs = [usage["cost"] for result in first for usage in result["usage"].values()]
    agreement = partial(statistics.measure_passing_kappa, threshold=THRESHOLD)
    return {
        "labels": len(words),
        "failures": len(words) - len(judged),
        "agreed": statistics.measure_raw_agreement(judged, THRESHOLD),
        "kappa": asdict(statistics.bootstrap_interval(judged, agreement)),
        "levels": asdict(statistics.bootstrap_interval(judged, statistics.measure_levels_kappa)),
        "slope": asdict(statistics.bootstrap_interval(judged, statistics.measure_length_slope)),
        "consistency": _consistency(grader, first, again),
        "cost": fmean(costs) if costs else None,
        "judges": calibration.hash_judges(card.grader_version),
        "words": sorted(words, key=_disagreement, reverse=True),
    }


def _scaled(grader: Grader, reward: float | None) -> float | None:
    """From the grader's range to 0 to 1."""
    low, high = grader.range if isinstance(grader, ScoreModelGrader) else (0.0, 1.0)
    return None if reward is None else min(1.0, max(0.0, (reward - low) / (high - low)))


def _swapped(definition: Json, grader: Grader) -> Json:
    """The same question with the options the other way round, where there are options."""
    if isinstance(grader, LabelModelGrader):
        return definition | {"labels": definition["labels"][::-1]}
    return definition


def _consistency(grader: Grader, first: list[Json], again: list[Json]) -> Json:
    """How often the judge says the same: with options swapped, in another order, or merely asked again."""
    kinds = {LabelModelGrader: "swap", RankingGrader: "order"}
    kind = kinds.get(type(grader), "repeat")
    pairs = [
        (_scaled(grader, a["reward"]), _scaled(grader, b["reward"]))
        for a, b in zip(first, again, strict=True)
    ]
    same = [(a > THRESHOLD) == (b > THRESHOLD) for a, b in pairs if a is not None and b is not None]
    return {"kind": kind, "value": fmean(same) if same else None}


def _disagreement(word: Json) -> float:
    """Distance of label and reward, both from 0 to 1; what the judge could not grade comes last."""
    if word["reward"] is None:
        return -1.0
    return abs(statistics.to_reward(word["label"]) - float(word["reward"]))
