"""Server times of the API's lists and retrieves on the full-size database, through the whole of Django."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.bench.full import SEEDED, full_site
from tests.bench.pages import p95
from tests.bench.result import Result
from tests.bench.scale import sized

ROUNDS = sized(20, 1)
GOAL_MS = 150.0
COPIES = sized(5_000, 20)  # of each object that seeding does not make
LONGEST_PAGE = 100


def api_p95() -> Result:
    """The p95 of the slowest list or retrieve; lists with 20 and with 100 objects a page."""
    os.environ["GROOVE_OUTBOUND_ALLOW"] = "127.0.0.1"  # of a webhook, which nothing is sent to
    with full_site() as job:
        from django.db import transaction

        with transaction.atomic():
            slow = _measure(job)
            transaction.set_rollback(True)
    worst = sorted(slow, key=slow.__getitem__, reverse=True)
    return Result(
        benchmark="api_p95",
        value=round(slow[worst[0]], 1),
        unit=f"milliseconds, 95th percentile of {ROUNDS} requests to the slowest list or retrieve",
        goal=GOAL_MS,
        runs=[round(slow[path], 1) for path in worst],
        note=f"{len(slow)} URLs; slowest first: {', '.join(worst[:8])}",
    )


def _measure(job: Any) -> dict[str, float]:
    """Return the p95 of each URL, by its path in the document."""
    from django.conf import settings
    from django.test import Client

    from tests.api.conftest import make_secret
    from webapp.teams.models import User

    settings.API_REQUESTS_PER_MINUTE = 10**6
    secret = make_secret(job.team, User.objects.get(email=SEEDED))
    client = Client(headers={"authorization": f"Bearer {secret}"})
    return {path: p95(_time(client, url) for _ in range(ROUNDS)) for path, url in _list_urls(job).items()}


def _time(client: Any, url: str) -> float:
    began = time.perf_counter()
    answer = client.get(url)
    assert answer.status_code == 200, f"{url}: {answer.status_code}"
    b"".join(answer) if answer.streaming else answer.content
    return (time.perf_counter() - began) * 1000


def _list_urls(job: Any) -> dict[str, str]:
    """Return every URL that answers to GET, by its path; lists also with the longest page."""
    from tests.api.document.known_objects import create_objects
    from tests.api.document.walk import fill_path, load_operations
    from tests.web.evals.runs import finished_run
    from webapp.teams.models import User

    finished_run(job.team)
    known = create_objects(job.team, User.objects.get(email=SEEDED))
    _copy_objects(job.team)
    urls = {}
    for operation in load_operations():
        if operation.method != "get" or operation.path.endswith("/content"):  # which is no object
            continue
        url = operation.path
        for name, value in fill_path(url, known).items():
            url = url.replace(f"{{{name}}}", value)
        urls[operation.path] = url
        if any(parameter.name == "limit" for parameter in operation.query):
            urls[f"{operation.path}?limit={LONGEST_PAGE}"] = f"{url}?limit={LONGEST_PAGE}"
    return urls


def _copy_objects(team: Any) -> None:
    """Copy the newest interaction, file, eval, eval run and output item of the team many times."""
    from webapp.datasets.files.models import ApiFile
    from webapp.evals.models import Eval, EvalRun, OutputItem
    from webapp.interactions.models import Interaction

    for model in (Interaction, ApiFile, Eval, EvalRun):
        _copy(model._default_manager.filter(team=team).latest("pk"))
    _copy(OutputItem.objects.filter(run__team=team).latest("pk"), counted="number")


def _copy(original: Any, counted: str = "") -> None:
    fields = [each for each in original._meta.concrete_fields if not each.primary_key and each.name != "uid"]
    values = {each.attname: getattr(original, each.attname) for each in fields}
    copies = [type(original)(**values | ({counted: 2 + n} if counted else {})) for n in range(COPIES)]
    type(original)._default_manager.bulk_create(copies, batch_size=1000)
