"""Time of keeping one interaction, beyond its completion."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.bench.full import SEEDED, full_site
from tests.bench.pages import p95
from tests.bench.result import Result
from tests.bench.scale import sized

WRITES = sized(2000, 20)
GOAL_MS = 5.0
PROMPT = (
    "You read invoices. Answer with JSON. Invoice 2024-{number} of Example Ltd, issued on 3 November 2024, "
    "for 12 hours of work at 85.00 EUR, VAT 19 %. Total 1,213.80 EUR, due within 14 days. "
)
MAIL = "Questions to accounts{number}@example.com or +49 30 901820. "


def write() -> Result:
    """Each second prompt holds an e-mail address and a telephone number to redact."""
    with full_site():
        from django.db import transaction

        from webapp.teams.models import User

        with transaction.atomic():
            team = User.objects.get(email=SEEDED).teams.get()
            times = list(_time_writes(team))
            transaction.set_rollback(True)
    return Result(
        benchmark="interaction_write",
        value=round(p95(times), 2),
        unit=f"milliseconds, 95th percentile of {WRITES} writes",
        goal=GOAL_MS,
        runs=[round(p95(times[start::4]), 2) for start in range(4)],
        note="prompts of 1,500 characters, half of them with personal data; no commit to disk is waited for",
    )


def _time_writes(team: object) -> Iterator[float]:
    from tests.web.interactions.records import make_record
    from webapp.interactions.services import record_interaction

    for number in range(WRITES):
        text = (PROMPT + MAIL * (number % 2)).format(number=number)
        record = make_record(
            team,  # type: ignore[arg-type]
            prompt=text * (1500 // len(text)),
            metadata={"session": f"s-{number // 4}", "workload": "invoice"},
            user=f"u-{number % 50}",
            prompt_ids=list(range(400)),
            completion_ids=list(range(64)),
            logp_sampled=[-0.5] * 64,
            logp_model=[-0.5] * 64,
        )
        began = time.perf_counter()
        record_interaction(record)
        yield (time.perf_counter() - began) * 1000
