"""Invariants of kept interactions: identity, consent, splits, idempotency, retention."""

from __future__ import annotations

import struct
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests.web.deployments.targets import first
from tests.web.interactions.records import keep, make_record, rows_as_text
from webapp.deployments import services as deployments
from webapp.interactions import erasure
from webapp.interactions.dataset_copies import make_dataset
from webapp.interactions.hashing import choose_split, create_secret
from webapp.interactions.models import Interaction
from webapp.interactions.rules import change_rules, find_rules
from webapp.interactions.services import pack_halves, record_interaction, select_trainable
from webapp.teams.models import Team, User

ASKED = {"metadata": {"consent": "train"}}


def set_rules(team: Team, user: User, **changes: object) -> None:
    rules = find_rules(team)
    names = ("consent_rule", "retention_days", "kinds", "phone_region", "patterns", "metrics")
    change_rules(team, user, {name: getattr(rules, name) for name in names} | changes)


def test_a_row_names_the_version_that_answered(team: Team, alice: User) -> None:
    deployment = deployments.deploy(team, alice, "invoices", first(team))
    kept = keep(team, deployment=deployment, model="invoices", adapter_sha256="a" * 64, **ASKED)
    assert (kept.version, kept.verified, kept.consent) == (deployment.stable, True, "train")
    assert list(select_trainable(Interaction.objects.all())) == [kept]


def test_a_row_of_another_adapter_is_marked_and_never_trains(team: Team, alice: User) -> None:
    deployment = deployments.deploy(team, alice, "invoices", first(team))
    kept = keep(team, deployment=deployment, model="invoices", adapter_sha256="c" * 64, **ASKED)
    assert (kept.verified, kept.consent) == (False, "keep")
    assert not select_trainable(Interaction.objects.all()).exists()
    with pytest.raises(IntegrityError), transaction.atomic():
        Interaction.objects.update(consent="train")


@pytest.mark.parametrize(
    ("rule", "stated", "expected"),
    [
        ("opt_in", None, "keep"),
        ("opt_in", "train", "train"),
        ("opt_in", "keep", "keep"),
        ("opt_in", "no idea", "keep"),
        ("contract", None, "train"),
        ("contract", "keep", "keep"),
        ("none", "train", "keep"),
    ],
)
def test_the_rule_and_the_caller_decide_consent(
    team: Team, alice: User, rule: str, stated: str | None, expected: str
) -> None:
    set_rules(team, alice, consent_rule=rule)
    assert keep(team, metadata={"consent": stated} if stated else {}).consent == expected


def test_without_consent_nothing_is_kept(team: Team) -> None:
    assert record_interaction(make_record(team, prompt="a secret", metadata={"consent": "none"})) is None
    assert "a secret" not in rows_as_text()


def test_people_and_sessions_are_stored_as_hashes_that_differ_between_teams(
    team: Team, charlie: User
) -> None:
    here = keep(team, user="u-4711")
    there = keep(charlie.teams.get(), user="u-4711")
    assert here.subject_hash == keep(team, user="u-4711").subject_hash
    assert here.subject_hash != there.subject_hash
    assert "u-4711" not in rows_as_text()


@given(session=st.text(max_size=80))
def test_a_session_is_always_in_the_same_split(session: str) -> None:
    secret = create_secret()
    assert choose_split(secret, session) == choose_split(secret, session) in {"train", "fresh", "audit"}


def test_the_shares_of_the_splits_are_as_documented() -> None:
    secret = create_secret()
    splits = [choose_split(secret, str(number)) for number in range(4000)]
    assert splits.count("audit") / 4000 == pytest.approx(0.05, abs=0.02)
    assert splits.count("fresh") / 4000 == pytest.approx(0.20, abs=0.03)


def test_every_interaction_of_a_session_is_in_one_split(team: Team) -> None:
    for session in map(str, range(12)):
        kept = [keep(team, metadata={"session": session}, prompt=f"{session} {turn}") for turn in range(3)]
        assert len({each.split for each in kept}) == 1


def test_a_prompt_that_went_into_a_dataset_is_no_longer_fresh(team: Team, alice: User) -> None:
    set_rules(team, alice, consent_rule="contract")
    secret = find_rules(team).secret
    kept = keep(team, prompt="What is due?")
    Interaction.objects.filter(pk=kept.pk).update(split="fresh")
    make_dataset(team, alice, "Of interactions", Interaction.objects.all())
    kept.refresh_from_db()
    assert kept.split == "seen"
    later = [keep(team, prompt="what is  DUE?") for _ in range(40)]
    assert {each.split for each in later} <= {"train", "audit", "seen"}
    assert any(choose_split(secret, each.session_hash) == "fresh" for each in later)


def test_an_idempotency_key_keeps_one_row(team: Team) -> None:
    kept = keep(team, idempotency_key="req-1")
    assert keep(team, idempotency_key="req-1", text="another answer") == kept
    assert keep(team, idempotency_key="req-1", model="other") != kept
    assert Interaction.objects.count() == 2


def test_a_shorter_retention_also_shortens_what_is_kept_and_a_longer_one_does_not(
    team: Team, alice: User
) -> None:
    kept = keep(team)
    for days, expected in ((7, 7), (90, 7)):
        set_rules(team, alice, retention_days=days)
        kept.refresh_from_db()
        assert kept.expires_at == kept.created_at + timedelta(days=expected)


def test_expired_interactions_leave_no_text(team: Team) -> None:
    gone = {"prompt": "Mail ann@example.com about the eclipse", "metadata": {"session": "s"}}
    keep(team, created=timezone.now() - timedelta(days=31), **gone)
    kept = keep(team)
    assert erasure.delete_expired() == 1
    assert list(Interaction.objects.all()) == [kept]
    assert "eclipse" not in rows_as_text()


@given(numbers=st.lists(st.floats(allow_nan=False), max_size=20))
def test_log_probabilities_are_packed_as_float16(numbers: list[float]) -> None:
    packed = pack_halves(numbers)
    assert len(packed) == 2 * len(numbers)
    for number, half in zip(numbers, struct.unpack(f"<{len(numbers)}e", packed), strict=True):
        clamped = max(-65504.0, min(65504.0, number))
        assert half == pytest.approx(clamped, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize(("temperature", "expected"), [(0, False), (0.7, True), (None, True)])
def test_greedy_traffic_has_no_propensity(team: Team, temperature: float | None, expected: bool) -> None:
    assert keep(team, params={"temperature": temperature}).propensity_ok is expected
