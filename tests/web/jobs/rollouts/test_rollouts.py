"""Rollouts of a job: filters, orders, groups, diffs, saved views and newer ones."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from tests.web import comparison
from tests.web.stored import rows_of
from webapp.jobs.models import Job, Rollout
from webapp.jobs.rollouts import search
from webapp.jobs.states import State
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
STEPS, GROUP_SIZE = 3, 2
ERROR = "python_grader_runtime_error"


def rollout(job: Job, step: int, index: int, **values: Any) -> Rollout:
    """Build one of two groups of two: rewards 0, 0.25, 0.5 and one ungraded."""
    reward = None if index == 3 else index / 4
    given = {
        "group": index // GROUP_SIZE, "row_id": f"row{index // GROUP_SIZE}", "prompt": "What is owed?",
        "completion": f"answer {step}.{index}", "reward": reward, "length": 10, "advantage": 0.5,
        "sub_rewards": {"total": reward, "format": 1}, "error_class": ERROR if reward is None else "",
        "error_detail": "ZeroDivisionError" if reward is None else "", "adapter_step": step - 1,
        "truncated": index == 2,
    }  # fmt: skip
    return Rollout(job=job, step=step, index=index, **given | values)


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    job = comparison.finished_job(team, alice)
    Rollout.objects.bulk_create(rollout(job, step, at) for step in range(1, STEPS + 1) for at in range(4))
    return job


def page_of(job: Job, place: str = "", **query: str) -> str:
    return f"{job.get_absolute_url()}rollouts/{place}?{urlencode(query)}"


def listed(client: Client, job: Job, **query: str) -> list[str]:
    """Return the rollouts of all pages, following the links to the next page."""
    url, seen = page_of(job, **query), []
    while url:
        text = client.get(url).text
        seen += re.findall(r"data-row\s+href=\"[^\"]*/rollouts/(\d+/\d+)/", text)
        onward = re.search(r'rel="next"\s+href="([^"]+)"', text)
        url = page_of(job).partition("?")[0] + html.unescape(onward[1]) if onward else ""
    return seen


# --- found -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, 12),
        ({"step": "2"}, 4),
        ({"step": "2", "least": "0.25"}, 2),
        ({"most": "0"}, 3),
        ({"only": "errors"}, 3),
        ({"only": "truncated", "step": "1"}, 1),
        ({"text": " 3.1"}, 1),
        ({"text": "no such words"}, 0),
        ({"step": "²", "least": "y", "only": "z", "after": "q", "sort": "w"}, 12),
        ({"step": "9" * 30, "most": "inf"}, 0),
        ({"least": "nan"}, 0),
        ({"since": "2", "until": "2"}, 4),
        ({"only": "ungraded"}, 3),
        ({"error": ERROR}, 3),
        ({"error": "other_error"}, 0),
        ({"longest": "0"}, 0),
        ({"row": "no such row"}, 0),
        ({"sort": "reward"}, 9),
        ({"sort": "-reward", "after": "9" * 5000}, 9),
    ],
)
def test_filters_find_rollouts(
    alice: User, job: Job, as_user: SignIn, query: dict[str, str], found: int
) -> None:
    assert as_user(alice).get(page_of(job, **query)).context["count"] == str(found)


def test_active_filters_are_shown_in_their_fields(alice: User, job: Job, as_user: SignIn) -> None:
    """This includes ``step`` of links from alarms and breadcrumbs, so that Apply keeps it."""
    shown = as_user(alice).get(page_of(job, step="2", error=ERROR, sort="reward")).text
    assert re.search(r'name="since"\s[^>]*value="2"', shown)
    assert re.search(r'name="until"\s[^>]*value="2"', shown)
    assert re.search(rf'value="{ERROR}"\s+selected>The grader&#x27;s code failed', shown)
    assert re.search(r'value="reward"\s+selected', shown)


def test_pages_show_each_rollout_once_in_every_order(
    alice: User, job: Job, as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for few matches, for too many to count, and for equal rewards."""
    client = as_user(alice)
    Rollout.objects.bulk_create(rollout(job, step, at) for step in (1, 2, 3) for at in range(4, 40))
    Rollout.objects.filter(index__gte=4).update(reward=0.5)
    kept = list(job.rollouts.values_list("step", "index", "reward"))
    graded = [(reward, step, index) for step, index, reward in kept if reward is not None]
    orders = {
        "": [(step, index) for step, index, _ in sorted(kept, key=lambda each: (-each[0], each[1]))],
        "reward": [position for _, *position in sorted(graded)],
        "-reward": [position for _, *position in sorted(graded, reverse=True)],
    }
    for most in (search.MAX_COUNT, 10):
        monkeypatch.setattr(search, "MAX_COUNT", most)
        for sort, positions in orders.items():
            seen = listed(client, job, sort=sort)
            assert seen == [f"{step}/{index}" for step, index in positions], (most, sort)


def test_completions_of_one_prompt_are_listed_below_it(alice: User, job: Job, as_user: SignIn) -> None:
    job.rollouts.filter(step=3, group=0).update(reward=0.5)
    answer = as_user(alice).get(page_of(job, step="3"))
    flat, ungraded = answer.context["runs"]
    assert [len(run.rollouts) for run in (flat, ungraded)] == [2, 2]
    assert (flat.mean, flat.no_signal, ungraded.size) == (0.5, True, 2)
    assert answer.text.count("What is owed?") == 2, "once a group"
    assert answer.text.count("no signal") == 2, "neither all alike nor one alone teaches anything"
    alone = as_user(alice).get(page_of(job, step="3", text="answer 3.1"))
    assert alone.text.count("What is owed?") == 1
    assert alone.context["runs"][0].lowest == 0.5, "of the whole group, not of what is shown"


# --- from match to match ---------------------------------------------------------------------------


def links(text: str) -> dict[str, str]:
    """URLs of the matches before and after, by ``prev`` and ``next``."""
    found = re.findall(r'rel="(prev|next)"\s+data-key="[\[\]]"\s+href="([^"]+)"', text)
    return {name: html.unescape(url) for name, url in found}


@pytest.mark.parametrize("most", [search.MAX_COUNT, 1])
@pytest.mark.parametrize("sort", ["", "reward", "-reward"])
def test_links_lead_through_all_matches_in_order(
    alice: User, job: Job, as_user: SignIn, monkeypatch: pytest.MonkeyPatch, sort: str, most: int
) -> None:
    monkeypatch.setattr(search, "MAX_COUNT", most)
    client, query = as_user(alice), {"text": "answer", "least": "0.25", "sort": sort}
    places = listed(client, job, **query)
    assert len(places) == 6
    url, read = page_of(job, f"{places[0]}/", **query), []
    assert "prev" not in links(client.get(url).text)
    while url:
        read.append("/".join(url.split("/rollouts/")[1].split("/")[:2]))
        before, url = url, links(client.get(url).text).get("next", "")
        if url:
            assert links(client.get(url).text)["prev"].partition("?")[0] == before.partition("?")[0]
    assert read == places


def test_the_link_back_keeps_the_filters(alice: User, job: Job, as_user: SignIn) -> None:
    client, query = as_user(alice), {"only": "errors", "until": "2"}
    shown = client.get(page_of(job, "2/3/", **query)).text
    assert "Back to 2 results" in shown
    assert "this is 1" in shown
    back = re.search(r'href="([^"]+)">Back to', shown)
    assert back
    assert client.get(html.unescape(back[1])).context["count"] == "2"
    sibling = client.get(page_of(job, "2/2/", **query)).text
    assert "this is" not in sibling, "another of the group is no match"
    assert set(links(sibling)) == {"next"}
    assert "Back to" not in client.get(page_of(job, "2/3/")).text


def test_a_rollout_is_shown_with_its_group_and_links_to_the_next_group(
    alice: User, job: Job, as_user: SignIn
) -> None:
    shown = as_user(alice).get(page_of(job, "2/2/")).text
    assert "ZeroDivisionError" in shown
    assert "The grader&#x27;s code failed" in shown
    assert "answer 2.1" not in shown
    assert re.findall(r'rollouts/(\d+/\d+)/"[^>]*>(?:Previous|Next) group', shown) == ["2/0", "3/0"]


def test_a_rollout_links_to_its_dataset_row(alice: User, job: Job, as_user: SignIn) -> None:
    client = as_user(alice)
    row_id = rows_of(job.dataset_version.files["train"]["key"])[0]["row_id"]
    job.rollouts.filter(step=2).update(row_id=row_id)
    link = re.search(r'href="([^"]*/datasets/[^"]*/rows/[^"]*)"', client.get(page_of(job, "2/2/")).text)
    assert link
    assert row_id in client.get(link[1]).text


# --- compared with other completions ---------------------------------------------------------------


def test_a_completion_is_compared_with_the_base_first_then_the_best_then_its_group(
    alice: User, job: Job, as_user: SignIn
) -> None:
    job.rollouts.update(row_id="the same")
    client = as_user(alice)
    answer = client.get(page_of(job, "3/0/"))
    assert [each.step for each in answer.context["steps"]] == [1, 2, 3]
    assert [each.name for each in answer.context["candidates"]] == ["base", "best", "1"]
    assert "Diff vs. the base model at step 1" in answer.text
    assert "Diff vs. #1 in group" in client.get(page_of(job, "3/0/", against="1")).text
    itself = client.get(page_of(job, "1/0/"))
    assert itself.context["against"].name == "best"
    assert "The base model itself wrote this completion." in itself.text


def test_the_page_says_so_if_the_base_has_no_completion_of_the_prompt(
    alice: User, job: Job, as_user: SignIn
) -> None:
    job.rollouts.filter(step=1).delete()
    client = as_user(alice)
    answer = client.get(page_of(job, "3/0/"))
    assert [each.name for each in answer.context["candidates"]] == ["best", "first", "1"]
    assert "No completion of the base model is available" in answer.text
    samples = [comparison.sample(0.3, "what base says")], [comparison.sample(0.9, "what tuned says")]
    comparison.compare(job, [comparison.row("row0", *samples)])
    shown = client.get(page_of(job, "3/0/"))
    assert "Diff vs. the base model in the comparison" in shown.text
    assert "what base says" in shown.text
    job.rollouts.exclude(step=3, index=0).delete()
    job.evaluations.all().delete()
    assert "There is no other completion of this prompt." in client.get(page_of(job, "3/0/")).text


# --- saved views -----------------------------------------------------------------------------------


def test_a_saved_view_is_offered_on_every_job_of_the_team(
    alice: User, bob: User, charlie: User, job: Job, as_user: SignIn
) -> None:
    client = as_user(alice)
    views = f"{job.get_absolute_url()}rollouts/views/"
    client.post(views, {"name": "Broken", "query": "only=errors&after=1-2&strange=<b>"})
    view = job.team.saved_views.get()
    assert (view.name, view.query, view.created_by) == ("Broken", "only=errors", alice)
    assert 'href="?only=errors"' in as_user(bob).get(page_of(job)).text
    for unusable in ({"name": "", "query": "step=2"}, {"name": "Everything", "query": "after=1-2"}):
        assert "The view was not saved" in client.post(views, unusable, follow=True).text
    forget = f"{views}{view.pk}/forget/"
    assert as_user(bob).post(forget).status_code == 403
    assert as_user(charlie).post(forget).status_code == 404


def test_removing_a_view_can_be_undone_and_keeps_the_filters(alice: User, job: Job, as_user: SignIn) -> None:
    client = as_user(alice)
    views = f"{job.get_absolute_url()}rollouts/views/"
    client.post(views, {"name": "<b>Broken</b>", "query": "only=errors"})
    forget = f"{views}{job.team.saved_views.get().pk}/forget/"
    answer = client.post(forget, {"back": "text=owed&next=//elsewhere"}, follow=True)
    assert answer.redirect_chain[0][0] == page_of(job, text="owed")
    assert not job.team.saved_views.exists()
    assert "Removed the view “&lt;b&gt;Broken&lt;/b&gt;”" in answer.text
    undo = re.search(rf'action="{views}">(.*?)Undo</button>', answer.text, re.DOTALL)
    assert undo
    fields = dict(re.findall(r'name="(name|query|back)" value="([^"]*)"', undo[1]))
    sent = {name: html.unescape(value) for name, value in fields.items()}
    assert client.post(views, sent).url == page_of(job, text="owed")
    assert job.team.saved_views.get().query == "only=errors"


# --- newer rollouts --------------------------------------------------------------------------------


def test_new_rollouts_are_offered_by_a_link_and_the_list_stays(
    alice: User, job: Job, as_user: SignIn
) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING)
    client = as_user(alice)
    page = client.get(page_of(job, only="errors")).text
    asked = re.search(r'id="newer"\s+hx-get="([^"]+)"', page)
    assert asked
    url = page_of(job).partition("?")[0] + html.unescape(asked[1])
    ask = {"headers": {"HX-Request": "true", "HX-Target": "newer"}}
    assert "show" not in client.get(url, **ask).text
    Rollout.objects.bulk_create(rollout(job, 4, at) for at in range(4))
    pill = client.get(url, **ask).text
    assert "1 new rollout, show" in pill
    assert 'href="?only=errors"' in pill
    assert "<table" not in pill
    assert 'id="newer"' not in client.get(page_of(job, after="2-1")).text
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    assert "data-live-url" not in client.get(page_of(job)).text
