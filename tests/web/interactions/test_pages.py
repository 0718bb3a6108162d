"""The pages of interactions."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client

from tests.web.interactions.records import keep
from tests.web.interactions.test_recording import set_rules
from tests.web.stored import rows_of
from webapp.datasets.models import DatasetVersion
from webapp.interactions.models import Interaction
from webapp.interactions.rules import find_rules
from webapp.teams.models import AuditEvent, Team, User

AsUser = Callable[[User], Client]


def test_filters_in_the_url_narrow_the_list(team: Team, bob: User, as_user: AsUser) -> None:
    client, url = as_user(bob), f"/t/{team.slug}/interactions/"
    assert "store: true" in client.get(url).content.decode()
    first = keep(team, prompt="The first eclipse", metadata={"workload": "sky"})
    second = keep(team, prompt="The second", model="other", adapter_sha256="c" * 64)

    def found(query: str) -> list[Interaction]:
        return list(client.get(f"{url}?{query}").context["page"])

    assert found("") == [second, first]
    for query in ("q=ECLIPSE", "metadata=workload%3Dsky", "metadata=workload", "model=groove/starter"):
        assert found(query) == [first]
    assert found("use=mismatch") == found("model=other") == [second]
    assert found("until=2020-01-01") == found("since=2999-01-01") == found("feedback=up") == []
    assert found("since=2020-02-31&until=x") == [second, first]


def test_a_member_votes_corrects_and_makes_a_dataset(team: Team, erin: User, as_user: AsUser) -> None:
    set_rules(team, erin, consent_rule="contract")
    kept = [keep(team, prompt=f"What is due in invoice {number}?") for number in range(20)]
    keep(team, metadata={"consent": "keep"}, prompt="Mine")
    client, url = as_user(erin), kept[0].get_absolute_url()
    page = client.post(f"{url}thumb/", {"thumb": "down"}, follow=True).content.decode()
    assert "Your thumb down was saved" in page
    page = client.post(f"{url}correct/", {"text": "13 EUR"}, follow=True).content.decode()
    assert "Your correction was saved" in page
    listed = client.get(f"/t/{team.slug}/interactions/?feedback=corrected")
    assert list(listed.context["page"]) == [kept[0]]
    made = client.post(f"/t/{team.slug}/interactions/dataset/?", {"name": "Corrected"}, follow=True)
    assert "1 may not train and were left out" in made.content.decode()
    version = DatasetVersion.objects.get()
    rows = [row for file in version.files.values() if file["rows"] for row in rows_of(file["key"])]
    references = {row["item"]["interaction"]: row["item"].get("reference") for row in rows}
    assert references[kept[0].uid] == "13 EUR"
    assert len(references) == 20
    assert AuditEvent.objects.filter(verb="made dataset of interactions").exists()


def test_without_rows_that_may_train_no_dataset_is_made(team: Team, erin: User, as_user: AsUser) -> None:
    keep(team)
    url = f"/t/{team.slug}/interactions/dataset/"
    page = as_user(erin).post(url, {"name": "Mine"}, follow=True).content.decode()
    assert "None of these interactions may train" in page
    assert not DatasetVersion.objects.exists()


def test_text_of_models_and_people_is_escaped(team: Team, bob: User, as_user: AsUser) -> None:
    kept = keep(team, prompt="<script>1</script>", text="<b>2</b>", metadata={"<i>": "<u>3</u>"})
    for url in (kept.get_absolute_url(), f"/t/{team.slug}/interactions/"):
        page = as_user(bob).get(url).content.decode()
        assert "&lt;script&gt;1" in page
        for tag in ("<script>1", "<b>2", "<i>", "<u>3"):
            assert tag not in page


def test_an_owner_erases_the_person_behind_an_interaction(team: Team, alice: User, as_user: AsUser) -> None:
    kept, other = keep(team, user="u-1"), keep(team, user="u-2")
    keep(team, user="u-1")
    page = as_user(alice).post(f"{kept.get_absolute_url()}erase/", follow=True).content.decode()
    assert "Erased 2 interactions." in page
    assert list(Interaction.objects.all()) == [other]
    as_user(alice).post(f"{other.get_absolute_url()}delete/")
    assert not Interaction.objects.exists()


def test_an_owner_sets_the_rules_and_wrong_ones_are_explained(
    team: Team, alice: User, as_user: AsUser
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/interactions/rules/"
    data = {"consent_rule": "contract", "retention_days": 7, "kinds": ["email"], "phone_region": "de",
            "patterns": "customer: K-\\d{6}\n", "metrics": "score: float"}  # fmt: skip
    client.post(url, data)
    rules = find_rules(team)
    assert (rules.consent_rule, rules.kinds, rules.phone_region) == ("contract", ["email"], "DE")
    assert (rules.patterns, rules.metrics) == ({"customer": r"K-\d{6}"}, {"score": "float"})
    for field, text in (
        ("patterns", "slow: (x|x)*y"),
        ("patterns", "no colon"),
        ("metrics", "thumb: boolean"),
        ("metrics", "a: text"),
        ("phone_region", "QQ"),
        ("retention_days", "0"),
    ):
        answer = client.post(url, data | {field: text})
        assert (answer.status_code, list(answer.context["form"].errors)) == (422, [field])
    assert find_rules(team).version == rules.version
