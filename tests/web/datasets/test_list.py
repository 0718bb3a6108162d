"""The list of datasets: search, sorting and pages in the URL, and undo after a deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from webapp.datasets.models import Dataset
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]


@pytest.fixture
def datasets(team: Team, alice: User) -> list[Dataset]:
    return [Dataset.objects.create(team=team, name=name, created_by=alice) for name in ("Beta", "Alpha")]


def names(client: Client, team: Team, **query: Any) -> list[str]:
    return [each.name for each in client.get(f"/t/{team.slug}/datasets/", query).context["page"]]


def test_datasets_are_found_by_name_and_sorted(
    team: Team, alice: User, datasets: list[Dataset], as_user: SignIn
) -> None:
    client = as_user(alice)
    assert names(client, team) == ["Alpha", "Beta"]
    assert names(client, team, sort="oldest") == ["Beta", "Alpha"]
    assert names(client, team, q="BET") == ["Beta"]
    assert "No datasets found" in client.get(f"/t/{team.slug}/datasets/", {"q": "zzz"}).text
    Dataset.objects.bulk_create(Dataset(team=team, name=f"D{n:02}") for n in range(40))
    page = client.get(f"/t/{team.slug}/datasets/", {"q": "D", "sort": "name"})
    assert "q=D&amp;sort=name&amp;page=2" in page.text


def test_a_deletion_is_undone_at_once(
    team: Team, alice: User, datasets: list[Dataset], as_user: SignIn
) -> None:
    client, beta = as_user(alice), datasets[0]
    page = client.post(f"{beta.get_absolute_url()}delete/", follow=True)
    assert "Dataset deleted" in page.text
    assert f"{beta.get_absolute_url()}restore/" in page.text
    assert names(client, team) == ["Alpha"]
    client.post(f"{beta.get_absolute_url()}restore/")
    assert names(client, team) == ["Alpha", "Beta"]
    assert "Dataset deleted" not in client.get(f"/t/{team.slug}/datasets/", {"undo": beta.uid}).text


def test_a_dataset_is_renamed(team: Team, alice: User, bob: User, as_user: SignIn) -> None:
    dataset = Dataset.objects.create(team=team, name="Old", created_by=alice)
    path = f"{dataset.get_absolute_url()}rename/"
    assert as_user(bob).post(path, {"name": "New"}).status_code == 403
    assert "1 to 120 characters" in as_user(alice).post(path, {"name": " "}, follow=True).text
    assert "<h1" in as_user(alice).post(path, {"name": " New "}, follow=True).text
    dataset.refresh_from_db()
    assert dataset.name == "New"
