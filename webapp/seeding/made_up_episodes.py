"""Episodes of a seeded database: a refund desk whose model gets better."""

from __future__ import annotations

from workers.contract.environments import EpisodeRecord, ToolCall, Turn

PRICE = 4900
PROMPT = "I changed my mind about order O1001 and want my money back."
ORDER = (
    '{"order_id": "O1001", "category": "apparel", "days_since_delivery": 12, "opened": false, '
    f'"cents": {PRICE}, "tier": "gold", "refunded": false, "note": "left at the front desk, signed for"}}'
)
FEEDBACK = f"The order is within 30 days and unopened: refund {PRICE} cents."


def play(right: bool) -> EpisodeRecord:
    """Return an episode that refunds the price, or one that guesses an order and runs out of calls."""
    return _refund() if right else _guess()


def _refund() -> EpisodeRecord:
    turns = [
        _call("ask_customer", "First I need to know who writes.", field="email"),
        _result("ask_customer", "ada@example.com"),
        _call("get_order", order_id="O1001"),
        _result("get_order", ORDER),
        _call("issue_refund", "It is within 30 days.", order_id="O1001", amount_cents=PRICE),
        _result("issue_refund", "Refunded.").model_copy(update={"reward": 1.0}),
    ]
    return EpisodeRecord(turns=turns, end="finished", reward=1.0, metrics={"calls": 3}, feedback=FEEDBACK)


def _guess() -> EpisodeRecord:
    error = "No order has this id."
    turns = [
        _call("get_order", order_id="O9"),
        _result("get_order", f"Error: {error}", error),
        Turn(
            role="assistant", content="", reasoning="Perhaps another id.", tokens=17,
            tool_calls=[ToolCall(name="", arguments=None, text='{"name": "get_order", "arguments": {O1001}')],
        ),
        _result("", "Error: this is no tool call.", "not a JSON object with name and arguments"),
    ]  # fmt: skip
    return EpisodeRecord(turns=turns, end="call_limit", reward=0.0, metrics={"calls": 2}, feedback=FEEDBACK)


def _call(name: str, content: str = "", **arguments: str | int) -> Turn:
    call = ToolCall(name=name, arguments=dict(arguments))
    return Turn(role="assistant", content=content, tool_calls=[call], tokens=12)


def _result(tool: str, text: str, error: str = "") -> Turn:
    return Turn(role="tool", tool=tool, content=text, error=error, tokens=len(text) // 3, seconds=0.002)
