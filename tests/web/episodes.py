"""Episodes of a refund desk, as the engine reports them."""

from __future__ import annotations

from workers.contract.environments import EndReason, EpisodeRecord, ToolCall, Turn

ORDER = '{"order_id": "O1001", "days": 12, "cents": 4900}'


def call(name: str, **arguments: object) -> Turn:
    """A turn of the model with one tool call."""
    return Turn(role="assistant", content="", tool_calls=[ToolCall(name=name, arguments=arguments)], tokens=9)  # type: ignore[arg-type]


def result(tool: str, text: str, error: str = "") -> Turn:
    """A tool's result."""
    return Turn(role="tool", tool=tool, content=text, error=error, tokens=20, seconds=0.01)


def refund(cents: int = 4900, end: EndReason = "finished", **values: object) -> EpisodeRecord:
    """An episode that looks an order up and pays an amount."""
    paid = ToolCall(name="issue_refund", arguments={"order_id": "O1001", "amount_cents": cents})
    turns = [
        call("get_order", order_id="O1001"),
        result("get_order", ORDER),
        Turn(role="assistant", content="It is within 30 days.", reasoning="12 < 30", tokens=12,
             tool_calls=[paid]),
        result("issue_refund", "Refunded.").model_copy(update={"reward": 1.0}),
    ]  # fmt: skip
    given = {"turns": turns, "end": end, "reward": float(cents == 4900), "feedback": "Pay what was paid."}
    return EpisodeRecord(**given | values)  # type: ignore[arg-type]
