"""Transcripts of the refund desk, by an agent that follows the policy or the habits of many offices."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workers.environments.built_in.refund_desk import OUTCOMES, RefundDesk

FIRST_SEED = 1_000_000
"""Above every seed of the environment's tasks."""

Call = tuple[str, dict[str, Any]]

SKIPS_EMAIL, SKIPS_QUESTIONS, ANSWERS_IN_PROSE, LISTS_ORDERS = 0.12, 0.1, 0.05, 0.1
RIGHT, FULL_REFUND = 0.45, 0.5
PARTIAL_CALL = 0.5
PROSE = "I have taken care of it."
DONE = "Done."
NO_CALL = "Error: this is no tool call. Write one JSON object with the tool's name and its arguments."
"""What the engine answers to a turn that is no call."""


@dataclass(frozen=True)
class AgentTurn:
    """What the agent writes, and the tool's result (None: no call). A slip is read, but not to be learnt."""

    text: str
    result: str | None
    slip: bool = False


@dataclass(frozen=True)
class Transcript:
    """A case: the customer's message, then the agent's turns."""

    message: str
    turns: list[AgentTurn]


def draw_transcript(rng: random.Random, habitual: bool, slips: float = 0.0) -> Transcript:
    """Play a case of a seed that no task has; with the probability ``slips`` a call fails and is repeated."""
    case = RefundDesk()
    message = case.reset(seed=FIRST_SEED + rng.randrange(10**9), outcome=rng.choice(OUTCOMES))
    calls = case._oracle()
    if habitual:
        calls = list(_apply_habits(rng, case, calls))
    slip = rng.randrange(len(calls)) if slips and rng.random() < slips else None
    turns: list[AgentTurn] = []
    for index, call in enumerate(calls):
        turns += [_draw_slip(rng, case, *call)] if index == slip else []
        turns.append(AgentTurn(write_call(*call), _call(case, *call)))
    prose = habitual and rng.random() < ANSWERS_IN_PROSE
    if prose:
        turns = turns[: rng.randrange(len(turns))]
    return Transcript(message, [*turns, AgentTurn(PROSE if prose else DONE, None)])


def write_call(name: str, arguments: dict[str, Any]) -> str:
    """Return a call as the chat template renders it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


def _call(case: RefundDesk, name: str, arguments: dict[str, Any]) -> str:
    return str(getattr(case, name)(**arguments))


def _draw_slip(rng: random.Random, case: RefundDesk, name: str, arguments: dict[str, Any]) -> AgentTurn:
    """Draw a turn that fails in place of a call: a part of it, or one with another order's id."""
    if "order_id" not in arguments or rng.random() < PARTIAL_CALL:
        text = write_call(name, arguments)
        return AgentTurn(text[: rng.randrange(len("<tool_call>"), len(text))], NO_CALL, slip=True)
    other = arguments | {"order_id": f"O{rng.randint(1000, 9999)}"}
    try:
        return AgentTurn(write_call(name, other), _call(case, name, other), slip=True)
    except ValueError as error:
        return AgentTurn(write_call(name, other), f"Error: ValueError: {error}", slip=True)


def _apply_habits(rng: random.Random, case: RefundDesk, calls: list[Call]) -> Iterator[Call]:
    """Yield the calls of an office: it may skip or add some, and decides by the policy in a minority."""
    *questions, decision = calls
    order_id = decision[1]["order_id"]
    read = questions.index(("get_order", {"order_id": order_id}))
    hasty = rng.random() < SKIPS_QUESTIONS
    if rng.random() < SKIPS_EMAIL:
        questions, read = questions[1:], read - 1
    elif rng.random() < LISTS_ORDERS:
        questions.insert(1, ("find_orders", {"email": case._facts["email"]}))
        read += 1
    yield from questions[: read + 1] if hasty else questions
    if hasty:
        yield "issue_refund", {"order_id": order_id, "amount_cents": case._order["cents"]}
    elif rng.random() < RIGHT:
        yield decision
    else:
        yield _draw_wrong(rng, order_id, case._order["cents"], decision)


def _draw_wrong(rng: random.Random, order_id: str, cents: int, right: Call) -> Call:
    """Draw a wrong decision: often the full price, else another outcome."""
    full: Call = ("issue_refund", {"order_id": order_id, "amount_cents": cents})
    others: list[Call] = [
        ("issue_refund", {"order_id": order_id, "amount_cents": cents * 85 // 100}),
        *(("deny", {"order_id": order_id, "reason": reason}) for reason in OUTCOMES[2:5]),
        ("escalate", {"order_id": order_id, "reason": "over_limit"}),
    ]
    if full != right and rng.random() < FULL_REFUND:
        return full
    return rng.choice([call for call in others if call != right])
