"""From the click on "Launch" to the first optimiser step: real database, broker and worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

from tests.bench.result import Result
from tests.bench.scale import sized

RUNS, PATIENCE = sized(3, 1), 120.0
WARM_SECONDS = sized(25.0, 0.0)  # a spare engine has imported everything by then, on slow cores too


def first_step() -> Result:
    """Jobs as the form launches them by default, one after the other, on a worker that waits."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    worker = _worker()
    try:
        waits = [_wait_for_first_step() for _ in range(RUNS)]
    finally:
        worker.terminate()
        worker.wait(60)
    return Result(
        benchmark="first_step_latency",
        value=round(median(waits), 2),
        unit="seconds from submitting a job to its first optimiser step, starter model, warm worker",
        goal=5.0,
        runs=[round(wait, 2) for wait in waits],
        note="with the base measured on validation rows and the preflight before it",
    )


def _worker() -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "webapp.config.settings",
        "GROOVE_WARM_ENGINES": "1",
    }
    arguments = ["-A", "workers.celery", "worker", "--pool", "threads", "-c", "4", "-l", "warning"]
    return subprocess.Popen([sys.executable, "-m", "celery", *arguments], env=environment)


def _wait_for_first_step() -> float:
    from webapp.work.models import Node

    until = time.monotonic() + PATIENCE
    while not Node.objects.exists():
        assert time.monotonic() < until, "the worker did not announce itself"
        time.sleep(0.1)
    time.sleep(WARM_SECONDS)
    job = _submit()
    while job.step < 1:
        job.refresh_from_db()
        assert time.monotonic() < until, f"{job.state} {job.phase} {job.error}"
        time.sleep(0.02)
    first = job.metrics.get(step=1)
    _end(job)
    return float((first.created_at - job.created_at).total_seconds())


def _submit() -> Any:
    from webapp.home.sample_project import create_sample_project
    from webapp.jobs.launch.request import JobRequest, single_task
    from webapp.jobs.launch.service import launch
    from webapp.registry.services import ensure_starter_model
    from webapp.teams.models import Team, User

    number = Team.objects.count()
    user = User.objects.create(email=f"bench{number}@example.com")
    team = Team.objects.create(name=f"bench{number}", slug=f"bench{number}")
    dataset, grader = create_sample_project(team, user)
    base = ensure_starter_model()
    return launch(
        JobRequest(
            team=team,
            user=user,
            name="bench",
            base_model=base,
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
            settings=base.settings,
        )
    )


def _end(job: Any) -> None:
    from webapp.jobs.services import request_cancel

    request_cancel(job, None)
    time.sleep(3)  # the worker notices and starts a new spare
