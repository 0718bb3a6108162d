"""Redaction happens before the first write, with placeholders that are stable within a session."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.interactions.records import keep, rows_as_text
from tests.web.interactions.test_recording import set_rules
from webapp.interactions.redaction.patterns import PatternInvalid, check_pattern, find_own_spans
from webapp.interactions.redaction.recognizers import KINDS, find_spans
from webapp.teams.models import Team, User

FOUND = {
    "email": ["Ann.Lee+x@mail.example.com", "müller@example.de"],
    "phone": ["+49 30 901820", "+1 (212) 555-2368"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB33BUKB20201555555555"],
    "card": ["4111 1111 1111 1111", "5500005555555559"],
    "ssn": ["536-90-4399"],
    "ip": ["192.0.2.7", "2001:db8::1"],
    "secret": ["sk-groove-abcdefghijklmnopqrstuvwx", "AKIAIOSFODNN7EXAMPLE"],
    "data": ["data:image/png;base64,iVBORw0KGgo="],
}
PASSES = ["Invoice 2024-11-03, no. 4711, 1,234.56 EUR", "at 12:30:45", "version 1.2.3", "4111 1111 1111 1112"]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_personal_data_is_found_inside_a_sentence(kind: str, text: str) -> None:
    sentence = f"Please use {text} for that"
    spans = {(span.kind, sentence[span.start : span.end]) for span in find_spans(sentence, list(KINDS), "")}
    assert (kind, text) in spans


@pytest.mark.parametrize("text", PASSES)
def test_ordinary_numbers_pass(text: str) -> None:
    assert list(find_spans(text, list(KINDS), "DE")) == []


@given(text=st.text(max_size=300))
def test_any_text_can_be_searched(text: str) -> None:
    for span in find_spans(text, list(KINDS), "DE"):
        assert 0 <= span.start < span.end <= len(text)


@pytest.mark.parametrize("unit", ["a", "0", "0 ", "a@", "A0 ", ":", "1.", "eyJ", "-", "sk-"])
def test_long_texts_take_time_in_proportion(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    began = time.perf_counter()
    list(find_spans(text, list(KINDS), "DE"))
    assert time.perf_counter() - began < 2


def test_nothing_that_was_found_is_in_the_database(team: Team) -> None:
    email = "ann@example.com"
    kept = keep(
        team,
        prompt=f"Write to {email}, then to bob@example.com",
        text=f"Dear {email}",
        metadata={"session": "s", "customer": email},
        completion_ids=[90001],
        prompt_ids=[90002],
    )
    assert kept.messages[0]["content"] == "Write to <EMAIL_1>, then to <EMAIL_2>"
    assert (kept.completion_text, kept.metadata["customer"]) == ("Dear <EMAIL_1>", "<EMAIL_1>")
    assert (kept.prompt_ids, kept.completion_ids, bytes(kept.logp_model), kept.propensity_ok) == (
        [], [], b"", False,
    )  # fmt: skip
    stored = rows_as_text()
    assert email not in stored
    assert "9000" not in stored


def test_placeholders_are_stable_within_a_session_and_not_across(team: Team) -> None:
    def ask(session: str, prompt: str) -> object:
        return keep(team, metadata={"session": session}, prompt=prompt).messages[0]["content"]

    assert ask("one", "a@example.com b@example.com") == "<EMAIL_1> <EMAIL_2>"
    assert ask("one", "b@example.com c@example.com") == "<EMAIL_2> <EMAIL_3>"
    assert ask("two", "c@example.com") == "<EMAIL_1>"


def test_arguments_of_tool_calls_are_redacted(team: Team) -> None:
    def build(arguments: str) -> list[object]:
        return [{"id": "c", "type": "function", "function": {"name": "mail", "arguments": arguments}}]

    message = {"role": "assistant", "content": None, "tool_calls": build('{"to":"a@example.com"}')}
    assert keep(team, completion=message).completion["tool_calls"] == build('{"to":"<EMAIL_1>"}')


def test_a_team_chooses_kinds_and_adds_patterns(team: Team, alice: User) -> None:
    set_rules(team, alice, kinds=["phone"], phone_region="DE", patterns={"customer": r"K-\d{6}"})
    kept = keep(team, prompt="K-123456 a@example.com 030 901820")
    assert kept.messages[0]["content"] == "<CUSTOMER_1> a@example.com <PHONE_1>"
    assert kept.redactor.endswith(".2")


@pytest.mark.parametrize("pattern", ["(a+)+$", r"(\w+\s?)*!", "(x|x)*y", "(?:0|00)*9"])
def test_patterns_that_would_take_forever_are_refused(pattern: str) -> None:
    with pytest.raises(PatternInvalid, match="too slow"):
        check_pattern("mine", pattern)


@pytest.mark.parametrize(
    ("name", "pattern", "message"),
    [
        ("mine", "(", "not a regular expression"),
        ("mine", "a*", "empty text"),
        ("email", "a", "cannot name"),
        ("My name", "a", "cannot name"),
        ("mine", "a" * 501, "characters"),
    ],
)
def test_wrong_patterns_are_explained(name: str, pattern: str, message: str) -> None:
    with pytest.raises(PatternInvalid, match=message):
        check_pattern(name, pattern)


@pytest.mark.parametrize("pattern", [r"K-\d{6}", r"\bORD[0-9]{4,10}\b", r"[A-Z]{2}\d+", r"(?i)project \w+"])
def test_ordinary_patterns_are_accepted(pattern: str) -> None:
    check_pattern("mine", pattern)


def test_a_pattern_that_runs_too_long_hides_the_text(team: Team, alice: User) -> None:
    set_rules(team, alice, patterns={"slow": "(x|x)*y"})
    kept = keep(team, prompt="x" * 60 + "z y")
    assert kept.messages[0]["content"] == "[not kept: a pattern of the redaction rules took too long]"
    assert list(find_own_spans("b", {"slow": "(x|x)*y"})) == []
