"""A judge ranks the completions of a group; a failed verdict leaves the whole group without rewards."""

from __future__ import annotations

import json

import pytest

from tests.workers.grading.judging import RANKING, Json, grades, verdict
from tests.workers.judge_server import Answer, JudgeServer


def by_length(body: Json, number: int) -> Answer:
    """An honest judge of RANKING, listwise or in pairs."""
    shown = json.loads(body["messages"][-1]["content"])
    answers = shown["answers"]
    if "score" in json.dumps(body["response_format"]):
        longest = max(len(one["answer"]) for one in answers)
        scores = {o["id"]: {"reason": "len", "score": len(o["answer"]) / longest} for o in answers}
        return verdict(answers=scores)
    first, second = (len(one["answer"]) for one in answers)
    return verdict(reason="len", better="tie" if first == second else "1" if first > second else "2")


TEXTS = ["aaaa", "a", "aa", "aaaa", "aaa"]


@pytest.mark.parametrize(
    ("method", "calls", "rewards"),
    [
        ("listwise", 1, [1.0, 0.25, 0.5, 1.0, 0.75]),
        ("round_robin", 6, [1.0, 0.0, 1 / 3, 1.0, 2 / 3]),
    ],
)
def test_equal_answers_are_ranked_once_and_rewards_follow_the_judge(
    server: JudgeServer, method: str, calls: int, rewards: list[float]
) -> None:
    server.behave = by_length
    results = grades(server, RANKING | {"method": method}, TEXTS, groups=["g"] * 5)
    assert [result.reward for result in results] == pytest.approx(rewards)
    assert len(server.requests) == calls
    assert sum(result.usage.get("m", {}).get("total_tokens", 0) for result in results) == 120 * calls
    assert all(request["temperature"] == 0 for request in server.requests)


def test_a_knockout_takes_one_call_less_than_there_are_answers_and_the_best_one_wins(
    server: JudgeServer,
) -> None:
    server.behave = by_length
    for seed in range(4):
        server.requests.clear()
        results = grades(server, RANKING | {"method": "knockout"}, TEXTS, groups=["g"] * 5, seed=seed)
        rewards = [result.reward for result in results]
        assert rewards[0] == rewards[3] == max(r for r in rewards if r is not None) == 1.0
        assert len(server.requests) == 3


def test_groups_are_told_apart_by_their_name_and_not_by_their_place(server: JudgeServer) -> None:
    server.behave = by_length
    results = grades(server, RANKING, ["aa", "b", "a", "bb"], groups=["one", "two", "one", "two"])
    assert [result.reward for result in results] == [1.0, 0.5, 0.5, 1.0]
    assert len(server.requests) == 2


def test_a_group_that_agrees_asks_nobody(server: JudgeServer) -> None:
    results = grades(server, RANKING, ["same"] * 4, groups=["g"] * 4)
    assert len({result.reward for result in results}) == 1
    assert server.requests == []


@pytest.mark.parametrize("method", ["listwise", "round_robin", "knockout"])
def test_a_failed_verdict_leaves_the_whole_group_missing_and_no_other(
    server: JudgeServer, method: str
) -> None:
    def behave(body: Json, number: int) -> Answer:
        return Answer("?") if "bad" in body["messages"][1]["content"] else by_length(body, number)

    server.behave = behave
    texts, groups = ["bad", "badder", "worst", "a", "aa"], ["x", "x", "x", "y", "y"]
    results = grades(server, RANKING | {"method": method}, texts, groups=groups)
    assert [result.reward is None for result in results] == [True, True, True, False, False]
    assert results[2].error_class == "model_grader_parse_error"


def test_wrong_ids_get_one_corrective_retry(server: JudgeServer) -> None:
    wrong = verdict(answers={"1": {"reason": "", "score": 1}, "7": {"reason": "", "score": 0}})
    server.behave = lambda body, number: (
        wrong if number == 0 else by_length({**body, "messages": body["messages"][:2]}, 1)
    )
    results = grades(server, RANKING, ["a", "aa"], groups=["g", "g"])
    assert [result.reward for result in results] == [0.5, 1.0]
    assert "each of these ids once: 1, 2" in server.requests[1]["messages"][-1]["content"]


def test_the_order_is_shuffled_by_the_seed_alone_and_ids_say_nothing(server: JudgeServer) -> None:
    server.behave = by_length
    orders = []
    for seed, texts in [(0, TEXTS), (0, TEXTS[::-1]), (1, TEXTS), (2, TEXTS), (3, TEXTS)]:
        grades(server, RANKING, texts, groups=["g"] * 5, seed=seed)
        orders.append(
            [one["answer"] for one in json.loads(server.requests[-1]["messages"][1]["content"])["answers"]]
        )
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 1


def test_a_canary_must_come_last(server: JudgeServer) -> None:
    server.behave = by_length
    sharp = RANKING | {"canary": "", "canary_share": 1.0}
    results = grades(server, sharp, ["a", "aa"], groups=["g", "g"])
    assert [result.sub_rewards for result in results] == [{"canary": 1.0}] * 2
    blind = RANKING | {"canary": "very long and very bad", "canary_share": 1.0}
    results = grades(server, blind, ["a", "aa"], groups=["g", "g"])
    assert [result.sub_rewards for result in results] == [{"canary": 0.0}] * 2
    none = grades(server, sharp | {"canary_share": 0.0}, ["a", "aa"], groups=["g", "g"])
    assert [result.sub_rewards for result in none] == [{}, {}]
