"""Pages of graders: find in the list, rename, delete and restore, edit an older version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from webapp.graders.models import Grader, GraderCheck, GraderVersion
from webapp.graders.services import add_version, create_grader, delete_grader, keep_answer
from webapp.teams.models import AuditEvent, Team, User
from workers.grading import KINDS

SignIn = Callable[[User], Client]
EXACT = KINDS["string_check"].example
ROW = {"row_id": "r", "messages": [{"role": "user", "content": "Capital?"}], "item": {}}


@pytest.fixture
def grader(team: Team, alice: User) -> Grader:
    return create_grader(team, alice, "Capitals", EXACT)


def names(client: Client, team: Team, **query: Any) -> list[str]:
    return [grader.name for grader in client.get(f"/t/{team.slug}/graders/", query).context["page"]]


# --- the list --------------------------------------------------------------------------------------


def test_graders_are_found_by_text_kind_and_check_and_sorted(
    grader: Grader, team: Team, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    judged = create_grader(team, alice, "Tone", KINDS["score_model"].example)
    Grader.objects.filter(pk=judged.pk).update(description="How polite a reply is")
    assert names(client, team) == ["Tone", "Capitals"]
    assert names(client, team, sort="name") == ["Capitals", "Tone"]
    assert names(client, team, q="POLITE") == ["Tone"]
    assert names(client, team, kind="string_check") == ["Capitals"]
    add_version(grader, alice, KINDS["regex"].example)
    assert names(client, team, kind="string_check") == [], "the newest version counts"
    newest = GraderCheck.objects.filter(version=grader.versions.first())
    newest.update(state=GraderCheck.State.FINISHED, results={"cheats": [{"warned": True}]})
    assert names(client, team, check="cheated") == ["Capitals"]
    assert names(client, team, check="pending") == ["Tone"]
    assert names(client, team, check="honest") == []


def test_a_list_that_is_long_has_pages_and_says_when_nothing_fits(
    team: Team, alice: User, as_user: SignIn
) -> None:
    made = Grader.objects.bulk_create(Grader(team=team, name=f"G{n:02}") for n in range(51))
    GraderVersion.objects.bulk_create(
        GraderVersion(grader=grader, number=1, definition=EXACT, sha256="0") for grader in made
    )
    client = as_user(alice)
    assert names(client, team, sort="name", page=2) == ["G50"]
    assert "No grader matches" in client.get(f"/t/{team.slug}/graders/?q=zzz").content.decode()


# --- names and deletion ----------------------------------------------------------------------------


def test_a_grader_gets_another_name_and_the_audit_trail_says_so(
    grader: Grader, alice: User, as_user: SignIn
) -> None:
    client, place = as_user(alice), f"{grader.get_absolute_url()}describe/"
    assert client.post(place, {"name": ""}).status_code == 422
    client.post(place, {"name": "Cities", "description": "Only the exact name counts"})
    page = client.get(grader.get_absolute_url()).content.decode()
    assert "Cities" in page
    assert "Only the exact name counts" in page
    assert AuditEvent.objects.get(verb="renamed grader").target == "Capitals to Cities"


def test_a_deletion_is_undone_from_the_list_and_later_from_the_deleted(
    grader: Grader, team: Team, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    shown = client.post(f"{grader.get_absolute_url()}delete/", follow=True).content.decode()
    assert "Grader deleted" in shown
    assert f"{grader.get_absolute_url()}restore/" in shown
    assert "Capitals" in client.get(f"/t/{team.slug}/graders/deleted/").content.decode()
    client.post(f"{grader.get_absolute_url()}restore/")
    assert names(client, team) == ["Capitals"]


def test_a_deleted_grader_offers_only_its_restoration_and_takes_no_version(
    grader: Grader, team: Team, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    delete_grader(grader, alice)
    page = client.get(grader.get_absolute_url()).content.decode()
    assert "This grader is deleted" in page
    assert not [offer for offer in ("Use in a job", "Save version", "Run on rows") if offer in page]
    answer = client.post(grader.get_absolute_url(), {"definition": '{"type": "typed meanwhile"}'})
    assert answer.status_code == 422
    assert "typed meanwhile" in answer.content.decode()
    assert client.post(f"{grader.get_absolute_url()}v1/check/").status_code == 404
    assert client.post(f"/t/{team.slug}/graders/try/", {"grader": grader.uid}).status_code == 404
    assert grader.versions.count() == 1


# --- versions --------------------------------------------------------------------------------------


def test_an_older_version_is_edited_and_saved_with_a_note(
    grader: Grader, alice: User, as_user: SignIn
) -> None:
    """The text keeps its kind, also if the newest version is of another kind."""
    client, source = as_user(alice), KINDS["python"].example
    python, _ = add_version(grader, alice, source)
    add_version(grader, alice, KINDS["regex"].example)
    old = client.get(grader.get_absolute_url(), {"from": python.number})
    assert old.context["form"]["source"].value() == source["source"]
    assert 'name="from" value="2"' in old.content.decode()
    text = source["source"] + "# again\n"
    client.post(f"{grader.get_absolute_url()}?from=2", {"source": text, "from": 2, "note": "As it was"})
    newest = grader.versions.first()
    assert newest is not None
    assert (newest.number, newest.definition, newest.note) == (4, source | {"source": text}, "As it was")
    page = client.get(grader.get_absolute_url()).content.decode()
    assert "As it was" in page
    for wrong in (9, "9" * 5000, "²"):
        assert client.get(grader.get_absolute_url(), {"from": wrong}).status_code in {200, 404}


def test_a_version_is_compared_with_any_other_and_the_address_says_which(
    grader: Grader, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    for reference in ("first", "second"):
        add_version(grader, alice, EXACT | {"reference": reference})
    place = f"{grader.get_absolute_url()}v3/"
    assert "first" in client.get(place).context["text_before"]
    assert "item.reference" in client.get(place, {"with": 1}).context["text_before"]
    assert client.get(place, {"with": "none"}).context["before"] is None
    assert "alice@example.com" in client.get(place).content.decode()


def test_what_a_job_cannot_use_is_not_offered_and_the_check_that_lacks_is_asked_for_in_place(
    grader: Grader, alice: User, as_user: SignIn
) -> None:
    client, place = as_user(alice), f"{grader.get_absolute_url()}v1/"
    assert "?grader=" in client.get(place).content.decode()
    keep_answer(grader, alice, ROW, "Paris", "good")
    GraderCheck.objects.all().delete()
    page = client.get(place).content.decode()
    assert "?grader=" not in page
    assert "Why not yet" in page
    assert "Check now" in page
    assert "Check again" not in page
    client.post(f"{place}check/")
    assert GraderCheck.objects.get().version.number == 1
