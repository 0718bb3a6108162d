"""Invoice matching: finds the purchase order of an invoice among confusable ones and decides on payment.

Needs rapidfuzz beside the standard library; this file runs in the sandbox. Vendors and items resemble one
another, invoices misspell them, and their references are missing or wrong.
"""

import random
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from rapidfuzz import fuzz, process

Decision = Literal["approve", "hold_price", "hold_quantity", "hold_duplicate", "no_match"]
DECISIONS = ("approve", "hold_price", "hold_quantity", "hold_duplicate", "no_match")
"""Invoices of a world cycle over them."""

VENDORS = (
    "Stark Tools", "Stark Toolworks", "Hillman Steel", "Hillmann Steel", "Nordic Paper", "Nordic Papers Co",
    "Baker Supplies", "Barker Supplies", "Green Office", "Greene Office", "Delta Electric", "Delta Electrics",
    "Fisher Plastics", "Fischer Plastics", "Union Cables", "Union Cable Works", "Weber Print", "Webber Print",
    "Lake Chemicals", "Lakes Chemical",
)  # fmt: skip
FAMILIES = ("hex bolt", "copper wire", "office chair")
VARIANTS = ("", " large", " large black", " large black boxed")
ITEMS = tuple(family + variant for family in FAMILIES for variant in VARIANTS)
"""Items whose words are among the words of others: a search for one finds the others as well."""

WORLDS = {"train": range(16), "validation": range(16, 18), "test": range(18, 20)}
ORDERS, INVOICES = 200, 100
TOLERANCE = 0.02
MOST_FOUND = 10


class Order(NamedTuple):
    """A purchase order. ``invoiced_by`` names an earlier invoice, or is empty."""

    id: str
    vendor: str
    item: str
    quantity: int
    cents: int
    receipts: tuple[int, ...]
    invoiced_by: str


class Invoice(NamedTuple):
    """An invoice as it arrives, and the truth about it; ``order`` is empty without one."""

    vendor: str
    item: str
    quantity: int
    cents: int
    reference: str
    order: str
    decision: str


class InvoiceMatching:
    """One invoice. The first submission decides."""

    system_prompt = (
        "You match invoices with purchase orders. Search by vendor and item. References are often missing or "
        "wrong, and a vendor's name may have two letters exchanged, but no other difference. The order must "
        "have the same vendor and exactly the same item. Search by the item alone before you say that there "
        "is none. Then read the order and its receipts, and submit the first decision that fits:\n"
        "1. No such order: no_match, with an empty po_id.\n"
        "2. The order was invoiced before: hold_duplicate.\n"
        "3. The unit price differs from the order's by more than 2%: hold_price.\n"
        "4. More was invoiced than received: hold_quantity.\n"
        "5. Otherwise: approve."
    )
    max_tool_calls = 8

    @classmethod
    def list_splits(cls) -> list[str]:
        return list(WORLDS)

    @classmethod
    def list_tasks(cls, split: str) -> list[dict[str, Any]]:
        pairs = [(world, number) for world in WORLDS[split] for number in range(INVOICES)]
        return [{"world": world, "number": number} for world, number in pairs if _is_solvable(world, number)]

    def reset(self, world: int, number: int) -> str:
        self._orders = _make_orders(world)
        self._invoice = _make_invoice(world, number)
        self._submitted: tuple[str, str] | None = None
        invoice = self._invoice
        return (
            f"Invoice INV-{world:02}{number:03}\nVendor: {invoice.vendor}\nItem: {invoice.item}\n"
            f"Quantity: {invoice.quantity}\nUnit price: {_show_money(invoice.cents)}\n"
            f"Reference: {invoice.reference or 'none'}"
        )

    def search_pos(self, query: str, limit: int = 5) -> str:
        """Search the purchase orders; the most similar ones come first.

        Args:
            query: words such as vendor, item or number
            limit: how many to show, at most 10
        """
        found = [self._orders[id] for id in _search(self._orders, query, max(1, min(limit, MOST_FOUND)))]
        return "\n".join(f"{order.id} | {order.vendor} | {order.item}" for order in found)

    def get_po(self, id: str) -> str:
        """Read a purchase order.

        Args:
            id: such as PO-10023
        """
        order = self._find(id)
        invoiced = f"invoiced by {order.invoiced_by}" if order.invoiced_by else "not invoiced yet"
        return (
            f"{order.id} | {order.vendor} | {order.item} | quantity {order.quantity} | "
            f"unit price {_show_money(order.cents)} | {invoiced}"
        )

    def get_receipts(self, id: str) -> str:
        """List what was received for a purchase order.

        Args:
            id: such as PO-10023
        """
        receipts = self._find(id).receipts
        return "\n".join(f"received {quantity}" for quantity in receipts) or "nothing was received"

    def submit(self, po_id: str, decision: Decision) -> str:
        """Submit the order and the decision. This ends the task.

        Args:
            po_id: such as PO-10023, or empty for no_match
            decision: the first that fits
        """
        self._submitted = (po_id.strip(), decision)
        return "Submitted."

    def _find(self, id: str) -> Order:
        order = self._orders.get(id.strip())
        if order is None:
            raise ValueError(f"no purchase order {id}")
        return order

    def _finished(self) -> bool:
        return self._submitted is not None

    def get_reward(self) -> float:
        if self._submitted is None:
            return 0.0
        order, decision = self._submitted
        wanted = self._invoice.decision
        if "no_match" in (wanted, decision):
            return float(wanted == decision)
        if order == self._invoice.order:
            return 1.0 if decision == wanted else 0.3
        return 0.1 if decision == wanted else 0.0

    def _feedback(self) -> str:
        wanted = f"{self._invoice.order or 'no order'}, {self._invoice.decision}"
        if self._submitted is None:
            return f"Nothing was submitted; {wanted} was right."
        return f"{self._submitted[0] or 'no order'}, {self._submitted[1]} was submitted; {wanted} was right."

    def _oracle(self) -> list[tuple[str, dict[str, Any]]]:
        return _solve(self._orders, self._invoice)


def _solve(orders: dict[str, Order], invoice: Invoice) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls of somebody who knows the rules and sees only what the tools show."""
    calls: list[tuple[str, dict[str, Any]]] = []
    for query in (f"{invoice.vendor} {invoice.item}", invoice.item):
        calls.append(("search_pos", {"query": query, "limit": MOST_FOUND}))
        for order in (orders[id] for id in _search(orders, query, MOST_FOUND)):
            if order.item == invoice.item and sorted(order.vendor) == sorted(invoice.vendor):
                calls += [("get_po", {"id": order.id}), ("get_receipts", {"id": order.id})]
                return [*calls, ("submit", {"po_id": order.id, "decision": _decide(order, invoice)})]
    return [*calls, ("submit", {"po_id": "", "decision": "no_match"})]


def _decide(order: Order, invoice: Invoice) -> str:
    if order.invoiced_by:
        return "hold_duplicate"
    if abs(invoice.cents - order.cents) > TOLERANCE * order.cents:
        return "hold_price"
    return "hold_quantity" if invoice.quantity > sum(order.receipts) else "approve"


@lru_cache(maxsize=4096)
def _is_solvable(world: int, number: int) -> bool:
    """Return True if the rules lead to the truth: a search may not show the order among so many alike."""
    invoice = _make_invoice(world, number)
    _, answer = _solve(_make_orders(world), invoice)[-1]
    return bool(answer == {"po_id": invoice.order, "decision": invoice.decision})


def _search(orders: dict[str, Order], query: str, limit: int) -> list[str]:
    texts = {id: f"{id} {order.vendor} {order.item}".lower() for id, order in orders.items()}
    found = process.extract(query.lower(), texts, scorer=fuzz.token_set_ratio, limit=limit)
    return [str(id) for _, _, id in found]


@lru_cache(maxsize=32)
def _make_orders(world: int) -> dict[str, Order]:
    """Return 200 purchase orders by their id, each of another vendor and item.

    Those with longer items come first, so that of equally good finds the first one is often wrong.
    """
    dice = random.Random(world)
    pairs = dice.sample([(vendor, item) for vendor in VENDORS for item in ITEMS], ORDERS)
    numbers = dice.sample(range(10_000, 20_000), ORDERS)
    orders: dict[str, Order] = {}
    for number, (vendor, item) in zip(numbers, sorted(pairs, key=_count_words, reverse=True), strict=True):
        quantity = 10 * dice.randint(2, 20)
        received = dice.choice((quantity, quantity, quantity // 2))
        first = dice.choice((0, received // 2))
        receipts = tuple(part for part in (first, received - first) if part)
        invoiced = f"INV-{dice.randint(90_000, 99_999)}" if dice.random() < 0.2 else ""
        id = f"PO-{number}"
        orders[id] = Order(id, vendor, item, quantity, 5 * dice.randint(40, 2000), receipts, invoiced)
    return orders


def _count_words(pair: tuple[str, str]) -> int:
    return len(pair[1].split())


def _make_invoice(world: int, number: int) -> Invoice:
    """Return an invoice of a world; the decision follows from its number."""
    dice = random.Random(f"{world}/{number}")
    orders = _make_orders(world)
    decision = DECISIONS[number % len(DECISIONS)]
    if decision == "no_match":
        taken = {(order.vendor, order.item) for order in orders.values()}
        vendor, item = dice.choice([(v, i) for v in VENDORS for i in ITEMS if (v, i) not in taken])
        wrong = dice.choice(("", _misspell(dice, dice.choice(list(orders)))))
        return Invoice(
            _misname(dice, vendor),
            item,
            10 * dice.randint(1, 9),
            5 * dice.randint(40, 2000),
            wrong,
            "",
            decision,
        )
    order = dice.choice([order for order in orders.values() if _suits(order, decision)])
    received = sum(order.receipts)
    quantity = dice.randint(received + 1, order.quantity) if decision == "hold_quantity" else received
    cents = order.cents + _change(dice, order.cents, decision)
    reference = dice.choice((order.id, "", "", *(_misspell(dice, order.id) for _ in range(2))))
    return Invoice(_misname(dice, order.vendor), order.item, quantity, cents, reference, order.id, decision)


def _suits(order: Order, decision: str) -> bool:
    if decision == "hold_duplicate" or order.invoiced_by:
        return decision == "hold_duplicate" and bool(order.invoiced_by)
    return decision != "hold_quantity" or sum(order.receipts) < order.quantity


def _change(dice: random.Random, cents: int, decision: str) -> int:
    """Return how far the invoice's price is from the order's: 4 to 15% to hold it, otherwise up to 1.5%."""
    share = (
        dice.uniform(0.04, 0.15) if decision == "hold_price" else dice.choice((0.0, dice.uniform(0, 0.015)))
    )
    return int(dice.choice((-1, 1)) * share * cents)


def _misname(dice: random.Random, vendor: str) -> str:
    return _misspell(dice, vendor) if dice.random() < 0.5 else vendor


def _misspell(dice: random.Random, text: str) -> str:
    """Return the text with two neighbours of different letters or digits exchanged."""
    places = [n for n in range(1, len(text) - 1) if text[n : n + 2].isalnum() and text[n] != text[n + 1]]
    place = dice.choice(places)
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def _show_money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
