"""A grader that asks a judge, and people's labels of its answers."""

from __future__ import annotations

import json
from typing import Any

from tests.workers.judge_server import Answer
from webapp.calibration import services as calibration
from webapp.graders.models import Grader, GraderTrial
from webapp.teams.models import User

DEFINITION = {
    "type": "score_model",
    "name": "tone",
    "model": "gpt-judge",
    "input": [{"role": "user", "content": "Score {{sample.output_text}}"}],
}


def labelled(grader: Grader, trial: GraderTrial, user: User, number: int) -> None:
    """Labels as the answers deserve: by length."""
    task = calibration.create_label_task(grader, user, trial)
    for place, answer in enumerate(task.answers[:number]):
        calibration.label_answer(task, user, place, answer["text"].count("good"))


def by_length(body: Any, number: int) -> Answer:
    return Answer(
        json.dumps({"steps": [], "result": (body["messages"][-1]["content"].count("good") - 1) / 4})
    )
