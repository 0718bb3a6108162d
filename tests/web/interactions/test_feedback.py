"""Feedback is append-only; the latest vote of an actor counts."""

from __future__ import annotations

import pytest

from tests.web.interactions.records import keep
from tests.web.interactions.test_recording import set_rules
from webapp.core.api.errors import ApiError
from webapp.interactions.dataset_copies import build_rows
from webapp.interactions.feedback import (
    Actor,
    NewFeedback,
    find_subject,
    record_feedback,
    select_present,
)
from webapp.interactions.models import Feedback, Interaction
from webapp.teams.models import Team, User

ANN, BEN = (Actor(name, Feedback.Source.END_USER) for name in ("ann", "ben"))


def give(interaction: Interaction, metric: str, value: bool | float | str, actor: Actor = ANN) -> Feedback:
    return record_feedback(find_subject(interaction.team, interaction), actor, NewFeedback(metric, value))


def test_a_new_vote_replaces_the_actors_older_one_and_nothing_is_lost(team: Team) -> None:
    kept = keep(team)
    for value, actor in ((True, ANN), (False, BEN), (False, ANN), (True, ANN)):
        give(kept, "thumb", value, actor)
    present = select_present(Feedback.objects.all())
    assert sorted(each.value for each in present) == [False, True]
    assert Feedback.objects.count() == 4


def test_comments_stand_beside_each_other(team: Team) -> None:
    kept = keep(team)
    for text in ("first", "second"):
        give(kept, "comment", text)
    assert select_present(Feedback.objects.all()).count() == 2


def test_an_edit_says_how_much_was_changed(team: Team) -> None:
    kept = keep(team, text="12 EUR")
    assert give(kept, "edit", "12 USD").cost == pytest.approx(3 / 6)
    assert give(kept, "edit", "12 EUR", BEN).cost == 0


def test_texts_are_redacted_with_the_placeholders_of_the_session(team: Team) -> None:
    kept = keep(team, prompt="a@example.com or b@example.com?")
    assert give(kept, "demonstration", "b@example.com").text == "<EMAIL_2>"


def test_a_session_takes_feedback_but_no_correction(team: Team) -> None:
    keep(team, metadata={"session": "s"})
    subject = find_subject(team, None, "s")
    record_feedback(subject, ANN, NewFeedback("thumb", True))
    record_feedback(subject, ANN, NewFeedback("thumb", False))
    assert [each.value for each in select_present(Feedback.objects.all())] == [False]
    with pytest.raises(ApiError, match="inference_id"):
        record_feedback(subject, ANN, NewFeedback("edit", "x"))


@pytest.mark.parametrize(
    ("metric", "value"),
    [("thumb", 1.0), ("thumb", "up"), ("score", True), ("score", float("nan")), ("score", "1"),
     ("comment", True), ("comment", " "), ("edit", "x" * 100_001)],
)  # fmt: skip
def test_a_value_must_fit_its_metric(team: Team, alice: User, metric: str, value: bool | float | str) -> None:
    set_rules(team, alice, metrics={"score": "float"})
    with pytest.raises(ApiError, match="must be"):
        give(keep(team), metric, value)


def test_the_latest_correction_is_the_reference_of_a_row(team: Team) -> None:
    corrected, plain = keep(team), keep(team)
    give(corrected, "demonstration", "13 EUR")
    give(corrected, "edit", "14 EUR", BEN)
    rows = list(build_rows([corrected, plain]))
    assert rows[0]["reference"] == "14 EUR"
    assert "reference" not in rows[1]
