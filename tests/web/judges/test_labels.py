"""Labels of people: blind, quick, and never replaced unseen."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client

from tests.web.judges.labels import DEFINITION
from webapp.calibration import services as calibration
from webapp.calibration.models import HumanLabel
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.services import add_version
from webapp.teams.models import Team, User

AsUser = Callable[[User], Client]


def test_labelling_is_blind_quick_and_can_be_taken_back(
    as_user: AsUser, alice: User, team: Team, grader: Grader, trial: GraderTrial
) -> None:
    client = as_user(alice)
    start = client.post(
        f"/t/{team.slug}/judges/labels/start/{grader.uid}/", {"trial": trial.uid}, follow=True
    )
    page = start.content.decode()
    assert "Answer 1 of 40" in page
    assert "0.77" not in page
    place = start.redirect_chain[-1][0]
    second = client.post(place, {"answer": 0, "value": 4}, follow=True).content.decode()
    assert "Answer 2 of 40" in second
    client.post(place, {"answer": 0, "value": 2})
    assert [label.value for label in HumanLabel.objects.all()] == [2]
    assert client.post(place, {"answer": 0, "value": 6}).status_code == 422
    assert client.post(place, {"answer": 40, "value": 1}).status_code == 422
    assert client.post(place, {"answer": "²", "value": "9" * 5000}).status_code == 422
    assert (
        client.get(f"{place}?at=²").status_code == client.get(f"{place}?at={'9' * 5000}").status_code == 200
    )
    assert "Answer 2 of 40" in client.get(place).content.decode()


def test_labels_see_what_the_judge_sees_and_replace_nobodys_word_unseen(
    as_user: AsUser, alice: User, erin: User, grader: Grader, trial: GraderTrial
) -> None:
    definition = DEFINITION | {"input": [{"role": "user", "content": "{{item.tone}} {{sample.output_text}}"}]}
    add_version(grader, alice, definition)
    for row in trial.rows:
        row["item"] |= {"tone": "a polite tone", "secret": "not for the judge"}
    task = calibration.create_label_task(grader, alice, trial)
    page = as_user(alice).get(task.get_absolute_url()).content.decode()
    assert "a polite tone" in page
    assert "not for the judge" not in page
    calibration.label_answer(task, erin, 0, 5)
    as_user(alice).post(task.get_absolute_url(), {"answer": 0, "value": 1})
    assert task.labels.get().value == 5
    again = as_user(alice).get(f"{task.get_absolute_url()}?at=0").content.decode()
    assert "erin@example.com" in again
    as_user(alice).post(task.get_absolute_url(), {"answer": 0, "value": 1, "seen": 5})
    assert (task.labels.get().value, task.labels.get().labelled_by) == (1, alice)
