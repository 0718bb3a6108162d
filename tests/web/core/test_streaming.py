"""CSV files say in a spreadsheet what they say here, and run nothing."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.web.comparison import body
from webapp.core.streaming import FORMULA_STARTS, build_attachment_headers, format_csv
from webapp.teams.models import Membership, Role, Team, User
from webapp.teams.services import record_event

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def read(rows: list[list[object]]) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(format_csv(rows)), newline="")))


@given(st.lists(st.lists(st.one_of(CELLS, st.sampled_from(["=1", "+a", "-2", "@x", "\t=1"])), min_size=1)))
def test_text_comes_back_whole_and_never_as_a_formula(rows: list[list[str]]) -> None:
    for line, row in zip(read([[*row, "end"] for row in rows]), rows, strict=True):
        for cell, text in zip(line, [*row, "end"], strict=True):
            assert cell in (text, f"'{text}")
            assert not cell.lstrip(" ").startswith(FORMULA_STARTS)


def test_numbers_times_and_gaps_stay_what_they_are() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert read([[-0.5, 3, Decimal("-1.5"), None, True, at]]) == [
        ["-0.5", "3", "-1.5", "", "True", "2026-03-01 12:00:00+00:00"]
    ]


def test_an_object_whose_name_is_a_formula_is_quoted_like_text(team: Team) -> None:
    """A local part of an address may begin with an equals sign."""
    user = User.objects.create_user("=1+1@example.com", "a long enough password")
    Membership.objects.create(team=team, user=user, role=Role.OWNER)
    record_event(team, user, "downloaded adapter", "a model")
    client = Client()
    client.force_login(user)
    answer = client.get(reverse("teams:audit_csv", args=[team.slug]), {"text": "downloaded"})
    [_, line] = csv.reader(io.StringIO(body(answer).decode(), newline=""))
    assert line[1:] == ["'=1+1@example.com", "downloaded adapter", "a model"]


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("model.zip", 'attachment; filename="model.zip"'),
        ('a "b".zip', 'attachment; filename="a \\"b\\".zip"'),
        ("Rechnung für Zoë.zip", "attachment; filename*=utf-8''Rechnung%20f%C3%BCr%20Zo%C3%AB.zip"),
        ("a\r\nSet-Cookie: x", "attachment; filename*=utf-8''a%0D%0ASet-Cookie%3A%20x"),
    ],
)
def test_a_download_is_named_after_its_file_in_any_language(name: str, disposition: str) -> None:
    headers = build_attachment_headers(name, 7)
    assert headers["Content-Length"] == "7"
    assert headers["Content-Disposition"].replace("%0d%0a", "%0D%0A") == disposition
