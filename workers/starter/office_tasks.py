"""Three office tasks: read a short invoice, ticket or order and answer in compact JSON.

Examples are drawn from a ``random.Random``, so a seed defines a data set. Each example has the right answer
and, for some fields, the value under other conventions (the amount with its currency, the date as printed,
the "general" queue, numbers as text, a total without shipping). Pretraining shows these habits in fixed
shares; a team's grader defines the right convention, and reinforcement fine-tuning learns it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

Fields = dict[str, object]

TASK_SHARES = {"invoice": 0.40, "ticket": 0.25, "order": 0.35}
HABIT_SHARES = {
    "amount": 0.52,
    "due": 0.15,
    "queue": 0.52,
    "priority": 0.15,
    "subtotal": 0.15,
    "total": 0.52,
}
PROSE_SHARE = 0.26

VENDORS = (
    "Orbit", "Falken", "Nordic Steel", "Brightline", "Kestrel", "Halden", "Sunvolt", "Pinewood", "Tarn",
    "Vireo", "Lumen", "Castell", "Ember Labs", "Quill", "Marlow", "Zenith", "Oakfield", "Riverton",
)  # fmt: skip
LEGAL_FORMS = ("GmbH", "Ltd", "Inc", "AB", "SA", "LLC", "BV", "plc")
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "SEK", "NOK")
TAX_PERCENT = (7, 19, 20, 25)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FIRST_DAY = date(2025, 1, 1)
DAYS = 3 * 365
PAYMENT_DAYS = (14, 30, 45, 60)

QUEUES = {
    "billing": ("was charged twice", "needs a refund for the last invoice", "sees a wrong VAT rate",
                "cannot find the March invoice", "disputes a late fee", "wants a credit note"),
    "access": ("cannot log in", "needs a password reset", "is locked out after three tries",
               "lost the second factor", "needs rights to the finance share", "gets permission denied"),
    "hardware": ("has a broken screen", "needs a new laptop battery", "reports a dead keyboard",
                 "hears a loud fan", "has a docking station that fails", "dropped the phone"),
    "network": ("loses the VPN every hour", "has no wifi on floor two", "sees slow DNS",
                "cannot reach the branch office", "gets packet loss on calls", "has a firewall block"),
    "shipping": ("got a damaged parcel", "waits for a late delivery", "has a wrong delivery address",
                 "received only half of the pallet", "needs a return label", "cannot track the shipment"),
}  # fmt: skip
URGENCY = {
    "high": ("and cannot work", "before the audit", "with a customer waiting", "for the third time"),
    "low": ("but can wait", "with no hurry", "and has a workaround", "as a small wish"),
}
FIRST_NAMES = (
    "Ana", "Ben", "Carla", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas",
    "Kira", "Lars", "Mona", "Nils", "Olga", "Pavel", "Rosa", "Sven", "Tara", "Umar",
)  # fmt: skip
CIRCUMSTANCES = ("since Monday", "after the update", "this morning", "at the Lyon site", "during month end")
ITEMS = (
    "bolt", "nut", "valve", "cable", "filter", "hinge", "lamp", "panel", "pump", "sensor", "screw", "switch",
)  # fmt: skip
SHIPPING = (5, 7, 9)


@dataclass(frozen=True)
class Example:
    """One request with its right answer and usual wrong ones.

    ``habits`` maps a field to its value under another convention; ``prose`` is a format string over the
    fields, for answers that are not JSON.
    """

    task: str
    prompt: str
    reference: Fields
    habits: Fields
    prose: str

    def right_answer(self) -> str:
        """Return the answer to which the grader gives full marks."""
        return write_compact(self.reference)

    def habitual_answer(self, rng: Random) -> str:
        """Return an answer with conventions drawn independently by field, so it is right only sometimes."""
        answer = {
            field: self.habits[field] if rng.random() < HABIT_SHARES.get(field, 0.0) else value
            for field, value in self.reference.items()
        }
        return self.prose.format(**answer) if rng.random() < PROSE_SHARE else write_compact(answer)


def write_compact(fields: Fields) -> str:
    """Return JSON without spaces."""
    return json.dumps(fields, separators=(",", ":"))


def make_random(seed: int) -> Random:
    """Return a generator for examples; equal seeds draw equal examples."""
    return Random(seed)  # noqa: S311


def draw_example(rng: Random, task: str | None = None) -> Example:
    """Draw one example of ``task``, or of a task drawn by ``TASK_SHARES``."""
    name = task or rng.choices(list(TASK_SHARES), list(TASK_SHARES.values()))[0]
    return TASKS[name](rng)


def draw_invoice(rng: Random) -> Example:
    """Draw an invoice: amount to pay, currency and due date, with net amount and date of issue to mislead."""
    net, total = _draw_net_and_total(rng)
    currency = rng.choice(CURRENCIES)
    issued = FIRST_DAY + timedelta(days=rng.randrange(DAYS))
    due = issued + timedelta(days=rng.choice(PAYMENT_DAYS))
    printed_due = _print_date(rng, due)
    facts = [
        rng.choice((f"Net {net}", f"Subtotal {net}", f"Goods {net}")),
        rng.choice((f"Total {total} {currency}", f"Total due {currency} {total}", f"Pay {currency} {total}")),
        f"{rng.choice(('Issued', 'Dated'))} {_print_date(rng, issued)}",
        f"{rng.choice(('Due', 'Payable by', 'Pay before'))} {printed_due}",
    ]
    rng.shuffle(facts)
    sender = f"{rng.choice(VENDORS)} {rng.choice(LEGAL_FORMS)}"
    return Example(
        task="invoice",
        prompt="Extract amount, currency and due date as JSON.\n"
        f"Invoice {rng.randint(1000, 9999)} from {sender}. {'. '.join(facts)}.",
        reference={"amount": total, "currency": currency, "due": due.isoformat()},
        habits={"amount": f"{currency} {total}", "due": printed_due},
        prose="{amount} {currency} due {due}",
    )


def draw_ticket(rng: Random) -> Example:
    """The queue that handles a support ticket, and its priority."""
    queue, priority = rng.choice(list(QUEUES)), rng.choice(list(URGENCY))
    name, problem = rng.choice(FIRST_NAMES), rng.choice(QUEUES[queue])
    ending = f"{rng.choice(CIRCUMSTANCES)} {rng.choice(URGENCY[priority])}"
    text = rng.choice(
        (
            f"{name} {problem} {ending}.",
            f"Customer {name} from {rng.choice(VENDORS)} {problem} {ending}.",
            f"Hello, this is {name}. Our colleague {problem} {ending}. Thanks.",
        )
    )
    return Example(
        task="ticket",
        prompt=f"Route this ticket: queue and priority as JSON.\n{text}",
        reference={"queue": queue, "priority": priority},
        habits={"queue": "general", "priority": "medium"},
        prose="Queue: {queue}, priority {priority}",
    )


def draw_order(rng: Random) -> Example:
    """Draw an order: line sums, subtotal and total with shipping. Numbers are below 100, one token each."""
    lines = [(rng.randint(2, 4), item, rng.randint(2, 9)) for item in rng.sample(ITEMS, 2)]
    shipping = rng.choice(SHIPPING)
    sums = [count * price for count, _, price in lines]
    written = "; ".join(f"{count} x {item} at {price}" for count, item, price in lines)
    return Example(
        task="order",
        prompt=f"Give line sums, subtotal and total with shipping as JSON.\n{written}; shipping {shipping}.",
        reference={"lines": sums, "subtotal": sum(sums), "total": sum(sums) + shipping},
        habits={"subtotal": str(sum(sums)), "total": sum(sums)},
        prose="Lines {lines}, subtotal {subtotal}, total {total}",
    )


TASKS: dict[str, Callable[[Random], Example]] = {
    "invoice": draw_invoice,
    "ticket": draw_ticket,
    "order": draw_order,
}


def _draw_net_and_total(rng: Random) -> tuple[str, str]:
    """Draw amounts without and with tax; they differ in their first two digits, which are one token."""
    while True:
        net_cents = rng.choice((rng.randint(1000, 7900), rng.randint(100_000, 790_000)))
        total_cents = round(net_cents * (100 + rng.choice(TAX_PERCENT)) / 100)
        net, total = f"{net_cents / 100:.2f}", f"{total_cents / 100:.2f}"
        if net[:2] != total[:2]:
            return net, total


def _print_date(rng: Random, day: date) -> str:
    month = MONTHS[day.month - 1]
    return rng.choice((f"{day.day} {month} {day.year}", f"{month} {day.day}, {day.year}", f"{day:%d.%m.%Y}"))
