"""Server times of pages on the full-size database, through the whole of Django."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

from tests.bench.full import SEEDED, full_site
from tests.bench.result import Result
from tests.bench.scale import sized

ROUNDS = sized(20, 1)
GOAL_MS = 300.0
FILTERS = {
    "none": "",
    "step": "step=5000",
    "steps": "since=4000&until=6000",
    "reward": "most=0.2",
    "rewards": "least=0.5&most=0.6",
    "errors": "only=errors",
    "one error": "error=python_grader_runtime_error",
    "cut off": "only=truncated",
    "ungraded": "only=ungraded",
    "length": "shortest=60",
    "short": "longest=12",
    "row": "row=row-700",
    "common text": "text=amount",
    "rare text": "text=1138.44",
    "no such text": "text=zebra",
    "text and error": "text=amount&only=errors",
    "text and reward": "text=EUR&most=0.3",
    "lowest first": "sort=reward",
    "highest first": "sort=-reward",
    "highest of the cut off": "sort=-reward&only=truncated",
    "highest of the short": "sort=-reward&longest=12",
    "lowest of the low": "sort=reward&most=0.3",
    "far page": "after=100-5",
}


def p95(times: Iterable[float]) -> float:
    """The nearest-rank 95th percentile."""
    ordered = sorted(times)
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


@contextmanager
def _signed_in() -> Any:
    with full_site() as job:
        from django.test import Client

        from webapp.teams.models import User

        client = Client()
        client.force_login(User.objects.get(email=SEEDED))
        yield client, job


def milliseconds(client: Any, url: str) -> float:
    """One request, its answer read to the end."""
    began = time.perf_counter()
    answer = client.get(url)
    assert answer.status_code == 200, f"{url}: {answer.status_code}"
    return (time.perf_counter() - began) * 1000


def page_p95() -> Result:
    """The slowest page's p95."""
    with _signed_in() as (client, job):
        urls = {name: url for name, url in _addresses(job).items() if _is_page(client.get(url))}
        slow = {name: p95(milliseconds(client, url) for _ in range(ROUNDS)) for name, url in urls.items()}
    worst = sorted(slow, key=slow.__getitem__, reverse=True)
    return Result(
        benchmark="page_p95",
        value=round(slow[worst[0]], 1),
        unit=f"milliseconds, 95th percentile of {ROUNDS} requests to the slowest page",
        goal=GOAL_MS,
        runs=[round(slow[name], 1) for name in worst],
        note=f"{len(slow)} pages; slowest first: {', '.join(worst[:8])}",
    )


def _addresses(job: Any) -> dict[str, str]:
    """Every address of the site whose objects the seeded team has."""
    from tests.web.site.test_tenancy import ADDRESSES

    named = _named(job)
    found = {"account": "/account/"}
    for address in ADDRESSES:
        namespace = address.name.partition(":")[0]
        known = named[""] | named.get(namespace, {})
        if address.arguments - {"team"} <= known.keys():
            found[address.name] = address.url(job.team.slug, {namespace: known, "": {}})
    return found


def _named(job: Any) -> dict[str, dict[str, Any]]:
    return {
        "": {"number": 1, "step": 1, "index": 0},
        "datasets": {"uid": job.dataset_version.dataset.uid},
        "graders": {"uid": job.grader_version.grader.uid},
        "judges": {"version": job.grader_version.uid, "grader": job.grader_version.grader.uid},
        **{namespace: {"uid": job.uid} for namespace in ("jobs", "evaluations", "retention")},
        "registry": {"uid": job.tuned_model.uid, "name": "adapter_config.json"},
    }


def _is_page(answer: Any) -> bool:
    html = answer.headers.get("Content-Type", "").startswith("text/html")
    return answer.status_code == 200 and html and b"<body" in answer.content


def rollout_filter() -> Result:
    """The slowest filter of the rollouts page, for the job with a million of them."""
    with _signed_in() as (client, job):
        url = f"{job.get_absolute_url()}rollouts/?"
        slow = {
            name: p95(milliseconds(client, url + query) for _ in range(ROUNDS))
            for name, query in FILTERS.items()
        }
    worst = sorted(slow, key=slow.__getitem__, reverse=True)
    return Result(
        benchmark="rollout_filter",
        value=round(slow[worst[0]], 1),
        unit=f"milliseconds, 95th percentile of {ROUNDS} requests with the slowest filter",
        goal=GOAL_MS,
        runs=[round(slow[name], 1) for name in worst],
        note=f"slowest first: {', '.join(worst)}",
    )
