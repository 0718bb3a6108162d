"""Lists: distinct labels of choices, and pages that any query string gets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from webapp.core.labels import build_distinct_labels
from webapp.core.listing import ListQuery, Sorts
from webapp.datasets.models import Dataset
from webapp.teams.models import Team

SORTS: Sorts = {"": ("Newest first", ("-id",)), "name": ("Name", ("name", "-id"))}


@dataclass
class Named:
    pk: int
    uid: str
    name: str

    def __str__(self) -> str:
        return self.name


@given(st.lists(st.sampled_from(["Invoices", "Orders", "Tickets"]), max_size=8))
def test_no_two_choices_read_alike_and_single_names_stay_short(names: list[str]) -> None:
    objects = [Named(number, f"ds_{number}", name) for number, name in enumerate(names)]
    labels = build_distinct_labels(objects)
    assert len(set(labels.values())) == len(objects)
    for each in objects:
        unique = names.count(each.name) == 1
        assert labels[each.pk] == (each.name if unique else f"{each.name}, {each.uid}")


@pytest.fixture
def datasets(team: Team) -> list[Dataset]:
    """Five datasets, the newest first."""
    return [Dataset.objects.create(team=team, name=name) for name in "bcade"][::-1]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "ed"),
        ("page=2", "ac"),
        ("page=3", "b"),
        ("page=99", "b"),
        ("page=-1", "b"),
        ("page=two", "ed"),
        ("sort=name", "ab"),
        ("sort=name&page=2", "cd"),
        ("sort=nonsense", "ed"),
    ],
)
def test_every_query_gets_a_page(datasets: list[Dataset], query: str, names: str) -> None:
    page = ListQuery(QueryDict(query), SORTS).paginate(Dataset.objects.all(), size=2)
    assert "".join(each.name for each in page) == names


def test_a_list_says_what_it_was_asked_for() -> None:
    asked = ListQuery(QueryDict("q=+paris+&kind=&sort=name&other=x"), SORTS, ("kind",)).build_context()
    assert asked["filters"] == {"q": "paris", "kind": "", "sort": "name"}
    assert asked["filtered"] is True
    assert asked["sorts"] == [("", "Newest first"), ("name", "Name")]
    assert ListQuery(QueryDict("q=++"), SORTS).build_context()["filtered"] is False


def test_an_empty_list_has_one_empty_page(db: None) -> None:
    page = ListQuery(QueryDict("page=4"), SORTS).paginate(Dataset.objects.all())
    assert (list(page), page.number) == ([], 1)
