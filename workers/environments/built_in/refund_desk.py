"""Refund desk: an agent asks the customer, looks the order up and applies the shop's policy.

Only standard library: this file runs in the sandbox. Prices and days take few values, so that a small model
can learn what 85% of a price is and which days are within a window.
"""

import random
from typing import Any, Literal

OUTCOMES = (
    "full_refund",
    "partial_refund",
    "already_refunded",
    "outside_window",
    "not_returnable",
    "over_limit",
)
"""What the policy says of a case. Seeds cycle over them."""

SPLITS = {"train": range(0, 240), "validation": range(10_000, 10_048), "test": range(20_004, 20_100)}
ITEMS = {
    "apparel": ("jacket", "dress", "pair of boots", "scarf"),
    "electronics": ("phone", "camera", "tablet", "headset"),
    "digital": ("game", "film", "album", "e-book"),
    "final_sale": ("lamp", "chair", "rug", "mirror"),
}
PRICES = [*range(4000, 20_000, 2000), *range(24_000, 40_000, 2000)]
DAYS = range(2, 100, 4)
LIMIT = 20_000
FREE_CALLS = 6
NAMES = ("ana", "ben", "cleo", "dan", "eva", "finn", "gita", "hugo", "ines", "jon", "kim", "lea")
REASONS = {
    "defective": ("It does not work.", "It is broken.", "It arrived damaged."),
    "wrong_item": ("You sent me another item.", "This is not what I ordered."),
    "changed_mind": ("I changed my mind.", "I do not like it.", "I no longer need it."),
}
OPENED = {True: ("Yes, I opened it.", "It is open."), False: ("No, it is sealed.", "Not opened.")}
GREETINGS = (
    "I want my money back for the {item}.",
    "Please refund my {item}.",
    "Hello, can I return the {item}?",
    "The {item} is not for me. What can you do?",
)


class RefundDesk:
    """One case of a customer who wants money back. The first terminal call decides it."""

    system_prompt = (
        "You handle refunds for a shop. Ask the customer for the email, then for the order id, "
        "and get the order. Ask for what else you must know. Then the first rule that fits decides:\n"
        "1. Already refunded: deny, already_refunded.\n"
        "2. Delivered more than 30 days ago (gold customers 45; defective or wrong item 90): "
        "deny, outside_window.\n"
        "3. Digital or final_sale, and the customer changed their mind: deny, not_returnable.\n"
        "4. The price is due, of opened electronics 85% of it. More than 20000 cents due: "
        "escalate, over_limit. Otherwise: refund what is due."
    )
    max_tool_calls = 10

    @classmethod
    def list_splits(cls) -> list[str]:
        """Return the names of the splits; their seeds are disjoint."""
        return list(SPLITS)

    @classmethod
    def list_tasks(cls, split: str) -> list[dict[str, Any]]:
        """Return the tasks of a split; ``outcome`` is what the policy says of the case."""
        return [{"seed": seed, "outcome": OUTCOMES[seed % len(OUTCOMES)]} for seed in SPLITS[split]]

    def reset(self, seed: int, outcome: str) -> str:
        """Begin the case of a seed; return the customer's first message."""
        rng = random.Random(f"{outcome} {seed}")
        self._facts = _draw_case(rng, outcome)
        self._outcome = outcome
        self._calls: list[str] = []
        self._decision: tuple[str, str, str] | None = None
        return str(rng.choice(GREETINGS).format(item=self._order["item"]))

    def ask_customer(self, field: Literal["email", "order_id", "reason", "opened"]) -> str:
        """Ask the customer.

        Args:
            field: What to ask for.
        """
        self._count(f"ask {field}")
        answers = self._facts["answers"]
        if field not in answers:
            raise ValueError(f"Ask for one of: {', '.join(answers)}.")
        if field == "order_id" and self._calls.count("ask order_id") == 1 and self._facts["malformed"]:
            return str(self._facts["malformed"])
        return str(answers[field])

    def find_orders(self, email: str) -> str:
        """List a customer's orders.

        Args:
            email: The customer's email.
        """
        self._count("find_orders")
        if email != self._facts["email"]:
            raise ValueError(f"No customer {email}.")
        return ", ".join(self._facts["orders"])

    def get_order(self, order_id: str) -> str:
        """Get an order.

        Args:
            order_id: Such as O1047.
        """
        self._count("get_order")
        order = self._find(order_id)
        refunded = "yes" if order["refunded"] else "no"
        return (
            f"{order_id}: {order['item']}, {order['category']}, {order['cents']} cents, "
            f"delivered {order['days']} days ago, {self._facts['tier']} customer, refunded: {refunded}"
        )

    def issue_refund(self, order_id: str, amount_cents: int) -> str:
        """Refund an order. Ends the case.

        Args:
            order_id: The order.
            amount_cents: What the customer gets.
        """
        if not isinstance(amount_cents, int):
            raise ValueError("amount_cents must be a whole number.")
        return self._decide("issue_refund", order_id, str(int(amount_cents)))

    def escalate(self, order_id: str, reason: Literal["over_limit", "unclear"]) -> str:
        """Hand an order to a manager. Ends the case.

        Args:
            order_id: The order.
            reason: Why.
        """
        return self._decide("escalate", order_id, reason)

    def deny(
        self, order_id: str, reason: Literal["already_refunded", "outside_window", "not_returnable"]
    ) -> str:
        """Refuse a refund. Ends the case.

        Args:
            order_id: The order.
            reason: The rule.
        """
        return self._decide("deny", order_id, reason)

    def get_reward(self) -> float:
        """Return 1 for the right decision, 0.2 for its kind only; less for calls past the sixth.

        A decision without the customer's email, and a refund of more than is due, earn 0.
        """
        if self._decision is None or "ask email" not in self._calls:
            return 0.0
        kind, order_id, detail = self._decision
        right_kind, right_id, right_detail = self._right_decision()
        if kind != right_kind or (kind == "issue_refund" and _exceeds(detail, right_detail)):
            return 0.0
        base = 1.0 if (order_id, detail) == (right_id, right_detail) else 0.2
        return max(0.0, round(base - 0.02 * max(0, len(self._calls) - FREE_CALLS), 2))

    def _finished(self) -> bool:
        """True after a decision, and after the last call that a case allows."""
        return self._decision is not None or len(self._calls) >= self.max_tool_calls

    def _feedback(self) -> str:
        """Return what the policy says, and what was decided."""
        right = "{}({}, {})".format(*self._right_decision())
        if self._decision is None:
            return f"No decision. Right: {right}."
        asked = "" if "ask email" in self._calls else " The customer was never asked for the email."
        return f"Decided: {'{}({}, {})'.format(*self._decision)}. Right: {right}.{asked}"

    def _oracle(self) -> list[tuple[str, dict[str, Any]]]:
        """Return calls that earn 1."""
        order_id = self._facts["order_id"]
        asked = ["email", "order_id"] + ["order_id"] * bool(self._facts["malformed"])
        calls: list[tuple[str, dict[str, Any]]] = [("ask_customer", {"field": field}) for field in asked]
        calls.append(("get_order", {"order_id": order_id}))
        calls += [("ask_customer", {"field": field}) for field in _missing_fields(self._order, self._outcome)]
        kind, _, detail = self._right_decision()
        if kind == "issue_refund":
            return [*calls, (kind, {"order_id": order_id, "amount_cents": int(detail)})]
        return [*calls, (kind, {"order_id": order_id, "reason": detail})]

    @property
    def _order(self) -> dict[str, Any]:
        return self._find(self._facts["order_id"])

    def _right_decision(self) -> tuple[str, str, str]:
        order_id = self._facts["order_id"]
        if self._outcome in ("full_refund", "partial_refund"):
            return "issue_refund", order_id, str(_amount_due(self._order))
        return "escalate" if self._outcome == "over_limit" else "deny", order_id, self._outcome

    def _find(self, order_id: str) -> dict[str, Any]:
        if order_id not in self._facts["orders"]:
            raise ValueError(f"No order {order_id}. An id is O and four digits.")
        order: dict[str, Any] = self._facts["orders"][order_id]
        return order

    def _decide(self, kind: str, order_id: str, detail: str) -> str:
        self._count(kind)
        self._find(order_id)
        self._decision = (kind, order_id, detail)
        return "The case is closed."

    def _count(self, call: str) -> None:
        if self._finished():
            raise ValueError("The case is closed.")
        self._calls.append(call)


def _draw_case(rng: random.Random, outcome: str) -> dict[str, Any]:
    """Draw facts until the policy gives the outcome."""
    while True:
        tier = rng.choice(("standard", "gold"))
        orders = {f"O{rng.randint(1000, 9999)}": _draw_order(rng) for _ in range(rng.randint(1, 3))}
        order_id = rng.choice(list(orders))
        if apply_policy(orders[order_id], tier) == outcome:
            break
    order, email = orders[order_id], f"{rng.choice(NAMES)}{rng.randint(10, 99)}@example.com"
    spare = len(_missing_fields(order, outcome)) < 2
    return {
        "tier": tier,
        "orders": orders,
        "order_id": order_id,
        "email": email,
        "malformed": f"I think it is {order_id[:4]}." if spare and rng.random() < 0.22 else "",
        "answers": {
            "email": f"It is {email}",
            "order_id": f"The order is {order_id}.",
            "reason": rng.choice(REASONS[order["reason"]]),
            "opened": rng.choice(OPENED[order["opened"]]),
        },
    }


def _draw_order(rng: random.Random) -> dict[str, Any]:
    category = rng.choice(("apparel", "electronics", "electronics", "digital", "final_sale"))
    return {
        "category": category,
        "item": rng.choice(ITEMS[category]),
        "days": rng.choice(DAYS),
        "cents": rng.choice(PRICES),
        "refunded": rng.random() < 0.2,
        "reason": rng.choice(tuple(REASONS)),
        "opened": rng.random() < 0.5,
    }


def apply_policy(order: dict[str, Any], tier: str) -> str:
    """Return the outcome of an order for a customer's tier; the first rule that fits."""
    window = 45 if tier == "gold" else 30
    if order["reason"] != "changed_mind":
        window = 90
    if order["refunded"]:
        return "already_refunded"
    if order["days"] > window:
        return "outside_window"
    if order["category"] in ("digital", "final_sale") and order["reason"] == "changed_mind":
        return "not_returnable"
    due = _amount_due(order)
    if due > LIMIT:
        return "over_limit"
    return "full_refund" if due == order["cents"] else "partial_refund"


def _amount_due(order: dict[str, Any]) -> int:
    cents: int = order["cents"]
    return cents * 85 // 100 if order["category"] == "electronics" and order["opened"] else cents


def _missing_fields(order: dict[str, Any], outcome: str) -> list[str]:
    """Return what only the customer knows and the policy needs, once the order is read."""
    if outcome == "already_refunded":
        return []
    within = outcome in ("full_refund", "partial_refund", "over_limit")
    return ["reason", "opened"] if within and order["category"] == "electronics" else ["reason"]


def _exceeds(detail: str, due: str) -> bool:
    return detail.isdigit() and int(detail) > int(due)
