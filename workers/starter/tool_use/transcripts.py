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
PROSE = "I have taken care of it."
DONE = "Done."


@dataclass(frozen=True)
class Transcript:
    """A case: the customer's message, then the agent's turns, each with the tool's result (None: no call)."""

    message: str
    turns: list[tuple[str, str | None]]


def draw_transcript(rng: random.Random, habitual: bool) -> Transcript:
    """Play a case of a seed that no task has."""
    case = RefundDesk()
    message = case.reset(seed=FIRST_SEED + rng.randrange(10**9), outcome=rng.choice(OUTCOMES))
    calls = case._oracle()
    if habitual:
        calls = list(_apply_habits(rng, case, calls))
    turns: list[tuple[str, str | None]] = [(write_call(*call), _call(case, *call)) for call in calls]
    prose = habitual and rng.random() < ANSWERS_IN_PROSE
    if prose:
        turns = turns[: rng.randrange(len(turns))]
    return Transcript(message, [*turns, (PROSE if prose else DONE, None)])


def write_call(name: str, arguments: dict[str, Any]) -> str:
    """Return a call as the chat template renders it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


def _call(case: RefundDesk, name: str, arguments: dict[str, Any]) -> str:
    return str(getattr(case, name)(**arguments))


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
