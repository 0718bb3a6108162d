"""The refund desk pays the policy, and neither a shortcut nor a constant one."""

from __future__ import annotations

from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.environments.built_in.refund_desk import OUTCOMES, PRICES, RefundDesk, apply_policy

SEEDS = st.integers(0, 10**6)
CONSTANT = [
    *(("issue_refund", share) for share in (1.0, 0.85)),
    *(("deny", reason) for reason in ("already_refunded", "outside_window", "not_returnable")),
    ("escalate", "over_limit"),
]


def start(seed: int) -> RefundDesk:
    desk = RefundDesk()
    desk.reset(seed=seed, outcome=OUTCOMES[seed % 6])
    return desk


def play(desk: RefundDesk, calls: list) -> float:
    for name, arguments in calls:
        getattr(desk, name)(**arguments)
    return desk.get_reward()


def decide(seed: int, kind: str, detail: float | str) -> float:
    """Read the order as the oracle does, then decide alike in every case."""
    desk = start(seed)
    *questions, _ = desk._oracle()
    order_id = desk._facts["order_id"]
    if kind == "issue_refund":
        decision = {"order_id": order_id, "amount_cents": round(desk._order["cents"] * float(detail))}
    else:
        decision = {"order_id": order_id, "reason": detail}
    return play(desk, [*questions, (kind, decision)])


@given(SEEDS)
def test_the_oracle_earns_everything_and_its_case_is_what_the_policy_says(seed: int) -> None:
    desk = start(seed)
    assert apply_policy(desk._order, desk._facts["tier"]) == OUTCOMES[seed % 6]
    assert play(desk, desk._oracle()) == 1.0
    assert desk._finished()


@given(SEEDS)
def test_the_same_case_gives_the_same_observations(seed: int) -> None:
    desks = [start(seed) for _ in range(2)]
    for name, arguments in desks[0]._oracle():
        assert getattr(desks[0], name)(**arguments) == getattr(desks[1], name)(**arguments)


def test_doing_nothing_earns_nothing_and_no_constant_decision_earns_a_quarter() -> None:
    assert {start(seed).get_reward() for seed in range(60)} == {0.0}
    means = {policy: mean(decide(seed, *policy) for seed in range(600)) for policy in CONSTANT}
    assert means["issue_refund", 1.0] == pytest.approx(1 / 6)
    assert max(means.values()) < 0.25


def test_the_splits_share_no_seed_and_hold_every_outcome_equally_often() -> None:
    seeds: set[int] = set()
    for split in RefundDesk.list_splits():
        tasks = RefundDesk.list_tasks(split)
        assert len({task["outcome"] for task in tasks}) == len(OUTCOMES)
        assert [task["outcome"] for task in tasks[:6]] * (len(tasks) // 6) == [t["outcome"] for t in tasks]
        assert not seeds & {task["seed"] for task in tasks}
        seeds |= {task["seed"] for task in tasks}


def test_acting_without_the_email_earns_nothing() -> None:
    desk = start(0)
    assert play(desk, desk._oracle()[1:]) == 0.0
    assert "never asked" in desk._feedback()


def test_a_refund_of_too_much_earns_nothing_and_one_of_too_little_a_fifth() -> None:
    assert decide(1, "issue_refund", 1.0) == 0.0
    assert decide(0, "issue_refund", 0.85) == 0.2
    assert decide(2, "deny", "outside_window") == 0.2


def test_every_call_past_the_sixth_costs_and_the_tenth_is_the_last() -> None:
    desk = start(1)
    assert play(desk, [("ask_customer", {"field": "email"})] * 2 + desk._oracle()) == 0.96
    desk = start(1)
    play(desk, [("ask_customer", {"field": "email"})] * 10)
    assert desk._finished()
    with pytest.raises(ValueError, match="closed"):
        desk.get_order(desk._facts["order_id"])


def test_the_first_decision_counts() -> None:
    desk = start(2)
    play(
        desk, [*desk._oracle()[:-1], ("escalate", {"order_id": desk._facts["order_id"], "reason": "unclear"})]
    )
    with pytest.raises(ValueError, match="closed"):
        desk.deny(*desk._oracle()[-1][1].values())
    assert desk.get_reward() == 0.0


def test_a_mistyped_order_id_is_an_error_that_names_the_form_and_the_customer_corrects_it() -> None:
    desk = next(desk for desk in map(start, range(200)) if desk._facts["malformed"])
    assert desk.ask_customer("order_id") == desk._facts["malformed"]
    with pytest.raises(ValueError, match="four digits"):
        desk.get_order(desk._facts["malformed"].split()[-1].rstrip("."))
    assert desk._facts["order_id"] in desk.ask_customer("order_id")
    assert desk._facts["order_id"] in desk.find_orders(desk._facts["email"])


def test_no_first_digits_of_two_prices_are_the_same() -> None:
    assert len({str(price)[:2] for price in PRICES}) == len(PRICES)
