"""The page of usage: what its filters select, and its plot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from webapp.keys.models import ApiKey, Scope
from webapp.keys.services import create_key
from webapp.serving.models import Usage
from webapp.serving.presenters import PLOT_HEIGHT, build_bars
from webapp.serving.usage import UsageKey, Use, record_uses
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]


@pytest.fixture
def key(team: Team, alice: User) -> ApiKey:
    return create_key(team, alice, "nightly", Scope)[0]


def use(key: ApiKey, model: str, day: date, tokens: int = 1, milliseconds: int = 10) -> None:
    record_uses(
        {UsageKey(key.team_id, key.pk, model, day): Use(1, 0, tokens, tokens, milliseconds, milliseconds)}
    )


def test_uses_of_one_day_add_up(key: ApiKey) -> None:
    today = timezone.now().date()
    use(key, "m", today, 3, 100)
    use(key, "m", today, 4, 300)
    row = Usage.objects.get()
    assert (row.requests, row.prompt_tokens, row.milliseconds, row.slowest_milliseconds) == (2, 7, 400, 300)


def test_the_page_shows_the_team_s_use_and_filters_it(
    team: Team, alice: User, charlie: User, key: ApiKey, as_user: SignIn
) -> None:
    today = timezone.now().date()
    use(key, "model-one", today, 1000)
    use(key, "model-two", today - timedelta(days=10))
    theirs = create_key(charlie.teams.get(), charlie, "theirs", Scope)[0]
    use(theirs, "model-three", today)
    client, page = as_user(alice), f"/t/{team.slug}/usage/"
    rows = client.get(page).context["rows"]
    assert {row["model"] for row in rows} == {"model-one", "model-two"}
    assert [row["model"] for row in client.get(page + "?days=7").context["rows"]] == ["model-one"]
    assert [row["model"] for row in client.get(page + "?model=model-two").context["rows"]] == ["model-two"]
    assert client.get(page + f"?key={theirs.uid}").context["rows"] == []
    text = client.get(page).text
    assert "nightly (…" in text
    assert "1,001" in text, "the sum of the prompt tokens"


def test_the_plot_has_a_bar_for_every_day_and_the_greatest_fills_it() -> None:
    today = timezone.now().date()
    bars = build_bars(today - timedelta(days=6), {today: 10, today - timedelta(days=1): 5})
    assert [bar.tokens for bar in bars] == [0, 0, 0, 0, 0, 5, 10]
    assert (bars[-1].height, bars[-2].height, bars[0].height) == (PLOT_HEIGHT, PLOT_HEIGHT / 2, 0)
    assert build_bars(today, {})[0].height == 0, "no use is no bar"
