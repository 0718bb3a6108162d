"""Judge cards: agreement with people's labels, and when a card does not count."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.web.judges.labels import DEFINITION, by_length, labelled
from tests.workers.judge_server import Answer, JudgeServer
from webapp.calibration import services as calibration
from webapp.calibration.models import JudgeCard
from webapp.endpoints import services as endpoints
from webapp.endpoints.models import Endpoint
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.services import create_grader
from webapp.judges import presenters
from webapp.teams.models import Team, User
from workers.bridge.graders import judge_checks

AsUser = Callable[[User], Client]


def test_a_card_needs_thirty_labels(alice: User, grader: Grader, trial: GraderTrial) -> None:
    labelled(grader, trial, alice, 29)
    with pytest.raises(calibration.TooFewLabels, match="needs 30 labels; there are 29"):
        calibration.create_card(grader.versions.get(), alice)


def test_a_card_shows_how_far_the_judge_agrees_and_takes_the_mark_away(
    as_user: AsUser,
    alice: User,
    team: Team,
    grader: Grader,
    trial: GraderTrial,
    endpoint: Endpoint,
    judge: JudgeServer,
) -> None:
    version, client = grader.versions.get(), as_user(alice)
    labelled(grader, trial, alice, 35)
    assert calibration.is_uncalibrated(version)
    judge.behave = by_length
    card = calibration.create_card(version, alice)
    judge_checks.make_card(card.pk)
    card.refresh_from_db()
    results = card.results
    assert (card.state, results["labels"], results["failures"]) == ("finished", 35, 0)
    assert (results["kappa"]["value"], results["kappa"]["low"], results["levels"]["value"]) == (1, 1, 1)
    assert results["consistency"] == {"kind": "repeat", "value": 1.0}
    assert results["slope"]["value"] == pytest.approx(0)
    assert results["cost"] == pytest.approx(0.0001)
    assert not calibration.is_uncalibrated(version)
    page = client.get(f"/t/{team.slug}/judges/cards/{version.uid}/").content.decode()
    assert "on 35 labels" in page
    assert page.count("<title>label ") == 35
    assert re.search(r"Uncalibrated", page) is None
    judges = client.get(f"/t/{team.slug}/judges/").content.decode()
    assert "κ 1.000" in judges
    assert "[1.000, 1.000]" in judges


def test_a_card_does_not_count_for_another_model_behind_the_same_name(
    alice: User, grader: Grader, trial: GraderTrial, endpoint: Endpoint, judge: JudgeServer
) -> None:
    labelled(grader, trial, alice, 30)
    judge.behave = by_length
    judge_checks.make_card(calibration.create_card(grader.versions.get(), alice).pk)
    assert not calibration.is_uncalibrated(grader.versions.get())
    endpoints.update_endpoint(endpoint, alice, model="another")
    [(_, [use])] = presenters.list_uses(grader.team, [endpoint])
    assert (use.grader, use.kappa) == (grader, None)
    assert calibration.is_uncalibrated(grader.versions.get())
    assert calibration.find_uncalibrated(grader.team, grader.versions.all()) == {grader.versions.get().pk}


def test_a_card_needs_thirty_verdicts_too(
    alice: User, grader: Grader, trial: GraderTrial, endpoint: Endpoint, judge: JudgeServer
) -> None:
    labelled(grader, trial, alice, 31)
    judge.behave = lambda body, number: by_length(body, number) if number else Answer(status=403)
    enough = calibration.create_card(grader.versions.get(), alice)
    judge_checks.make_card(enough.pk)
    judge.behave = lambda body, number: by_length(body, number) if number % 2 else Answer(status=403)
    too_few = calibration.create_card(grader.versions.get(), alice)
    judge_checks.make_card(too_few.pk)
    assert [JudgeCard.objects.get(pk=card.pk).state for card in (enough, too_few)] == ["finished", "failed"]
    assert "of 31 answers" in JudgeCard.objects.get(pk=too_few.pk).error.message


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("swap", {"type": "label_model", "labels": ["good", "bad"], "passing_labels": ["good"]}),
        ("order", {"type": "ranking", "rubric": "Longer is better."}),
    ],
)
def test_the_options_and_their_order_are_changed_to_see_whether_the_verdict_holds(
    kind: str,
    definition: Any,
    team: Team,
    alice: User,
    trial: GraderTrial,
    endpoint: Endpoint,
    judge: JudgeServer,
) -> None:
    shown = {"input": DEFINITION["input"]} if kind == "swap" else {}
    grader = create_grader(team, alice, kind, {"name": "k", "model": "gpt-judge", **shown, **definition})
    trial.grader = grader
    trial.results = [each | {"row": each["row"] % 8} for each in trial.results]
    trial.save()
    labelled(grader, trial, alice, 40)

    def behave(body: Any, number: int) -> Answer:
        """Always the first: the first label, or the first answer best."""
        schema = body["response_format"]["json_schema"]["schema"]["properties"]
        if kind == "swap":
            return Answer(json.dumps({"reason": "", "label": schema["label"]["enum"][0]}))
        ids = list(schema["answers"]["properties"])
        scores = {i: {"reason": "", "score": float(i == ids[0])} for i in ids}
        return Answer(json.dumps({"answers": scores}))

    judge.behave = behave
    card = calibration.create_card(grader.versions.get(), alice)
    judge_checks.make_card(card.pk)
    card.refresh_from_db()
    assert card.error is None
    assert card.results["consistency"]["kind"] == kind
    assert card.results["consistency"]["value"] < 0.9


def test_a_card_of_a_judge_that_never_answers_says_why(
    alice: User, grader: Grader, trial: GraderTrial, endpoint: Endpoint, judge: JudgeServer
) -> None:
    labelled(grader, trial, alice, 30)
    judge.behave = lambda body, number: Answer(status=404)
    card = calibration.create_card(grader.versions.get(), alice)
    judge_checks.make_card(card.pk)
    card = JudgeCard.objects.get()
    assert (card.state, "status 404" in card.error.message) == ("failed", True)
