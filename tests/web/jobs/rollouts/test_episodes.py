"""Rollouts of several turns: recorded, searched, and shown turn by turn."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.web import comparison, episodes
from tests.web.jobs.rollouts.test_rollouts import page_of
from tests.web.preflight_report import REPORT
from webapp.jobs.models import Job
from webapp.jobs.recording import record_events
from webapp.jobs.rollouts import export
from webapp.jobs.states import State
from webapp.teams.models import Team, User
from workers.contract import events
from workers.contract.environments import EpisodeRecord, ToolCall, Turn

SignIn = Callable[[User], Client]


def rollout(index: int, episode: EpisodeRecord | None) -> events.Rollout:
    """A rollout of one group, with this episode or with a single turn."""
    return events.Rollout(
        index=index, group=0, row_id="row0", prompt="Refund my order.", reward=episode and episode.reward,
        completion=episode.transcript() if episode else "a single turn", advantage=0.1, length=41,
        truncated=False, adapter_step=1, episode=episode,
    )  # fmt: skip


def record(job: Job, *played: EpisodeRecord | None, step: int = 2) -> None:
    """Record a step's rollouts as a worker does."""
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, attempt=1)
    rollouts = [rollout(index, episode) for index, episode in enumerate(played)]
    assert record_events(job.pk, 1, [events.RolloutsEvent(step=step, rollouts=rollouts)])


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    job = comparison.finished_job(team, alice)
    lost = EpisodeRecord(turns=[episodes.call("find_orders", email="a@b.c")], end="session_lost")
    record(job, episodes.refund(), episodes.refund(100), lost, None)
    return job


def test_an_episode_is_recorded_whole(job: Job) -> None:
    """A NUL character, which PostgreSQL cannot store, becomes visible; a backslash before u0000 stays."""
    made_up = ToolCall(name="x\0" * 99, arguments={"\0": ["\0"]})
    hostile = EpisodeRecord(
        turns=[
            Turn(role="tool", tool="get\0", content="a\0b \\u0000", error="\0"),
            Turn(role="assistant", content="", tool_calls=[made_up]),
        ],
        end="answered", reward=0.5, metrics={"calls": 2.0},
    )  # fmt: skip
    record(job, episodes.refund(), hostile, None, step=3)
    kept = list(job.rollouts.filter(step=3))
    assert kept[0].episode == episodes.refund()
    assert (kept[0].ended, kept[0].turns, kept[0].tools) == ("finished", 4, ["get_order", "issue_refund"])
    assert kept[1].episode
    assert kept[1].episode.turns[0].content == "a␀b \\u0000"
    assert kept[1].episode.turns[1].tool_calls[0].arguments == {"␀": ["␀"]}
    assert kept[1].episode.metrics == {"calls": 2.0}
    assert (kept[2].episode, kept[2].ended, kept[2].tools) == (None, "", [])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"ended": "finished"}, 2),
        ({"ended": "session_lost"}, 1),
        ({"ended": "no such end"}, 0),
        ({"tool": "issue_refund"}, 2),
        ({"tool": "find_orders", "ended": "finished"}, 0),
        ({"tool": "{'"}, 0),
        ({"text": "amount_cents=100"}, 1),
    ],
)
def test_episodes_are_found_by_end_tool_and_text(
    alice: User, job: Job, as_user: SignIn, query: dict[str, str], found: int
) -> None:
    assert as_user(alice).get(page_of(job, **query)).context["count"] == str(found)


def test_the_list_offers_ends_and_tools_but_loads_no_episode(alice: User, job: Job, as_user: SignIn) -> None:
    client = as_user(alice)
    with CaptureQueriesContext(connection) as captured:
        page = client.get(page_of(job)).text
    assert not any('"episode"' in query["sql"] for query in captured.captured_queries)
    assert "4 turns, ended by the environment" in page
    assert '<option value="issue_refund">' in page
    saved = client.post(
        f"{job.get_absolute_url()}rollouts/views/", {"name": "Lost", "query": "tool=x&ended=session_lost"}
    )
    assert saved.url == page_of(job, ended="session_lost", tool="x")
    job.rollouts.exclude(ended="").delete()
    assert 'name="ended"' not in client.get(page_of(job)).text


def test_an_episode_is_shown_turn_by_turn_beside_its_group(alice: User, job: Job, as_user: SignIn) -> None:
    answer = as_user(alice).get(page_of(job, "2/1/"))
    page = answer.text
    for words in (
        "It is within 30 days.", "12 &lt; 30", "{&quot;order_id&quot;: &quot;O1001&quot;}", "reward +1.000",
        "The environment ended the episode.", "Pay what was paid.", "not trained on",
        "21 tokens of this episode are trained on, 40 are not.",
        "The two episodes part in turn 3.", "differs from here", "2 tool calls",
    ):  # fmt: skip
        assert words in page, words
    assert answer.context["parts"] == 3
    assert "session of the environment died" in as_user(alice).get(page_of(job, "2/2/")).text
    assert "a single turn" in as_user(alice).get(page_of(job, "2/3/")).text


def test_rollouts_are_downloaded_as_json_lines_with_their_turns(
    alice: User, job: Job, as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has the matches of the filters, in their order, however many queries it takes."""
    monkeypatch.setattr(export, "BATCH", 2)
    url = f"{job.get_absolute_url()}rollouts.jsonl"
    client = as_user(alice)
    lines = [json.loads(line) for line in comparison.body(client.get(url)).splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3]
    assert EpisodeRecord.model_validate(lines[0]["episode"]) == episodes.refund()
    assert lines[3]["episode"] is None
    some = comparison.body(client.get(f"{url}?ended=finished&sort=reward")).splitlines()
    assert [json.loads(line)["reward"] for line in some] == [0.0, 1.0]


def test_preflight_samples_show_their_episodes(alice: User, job: Job, as_user: SignIn) -> None:
    played = episodes.refund(feedback="Pay\0what was paid.")
    sample = events.PreflightSample(
        row_id="row0", prompt="Refund my order.", completion=played.transcript(), reward=1.0, length=41,
        truncated=False, episode=played,
    )  # fmt: skip
    assert record_events(job.pk, 1, [events.PreflightEvent(**REPORT, samples=[sample])])
    page = as_user(alice).get(f"{job.get_absolute_url()}preflight/").text
    assert "It is within 30 days." in page
    assert "Pay␀what was paid." in page
    assert "The environment ended the episode." in page
