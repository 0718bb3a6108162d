"""The crash script: one job, disturbed at random, must end as if nothing had happened.

``python -m tests.crash [--times 20] [--steps N] [--seed 0]`` starts a database, a broker, a worker and beat
of its own, runs a job on the starter model undisturbed, runs it again while it kills and cuts what it can,
and compares: the adapter bit for bit, every metric but clock times, every rollout, the final evaluation.
Without ``--steps`` a short job is timed first, and the job is made so long that the disturbances spread over
it: a job that ends while most of them still wait would show little.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from tests.course import without_clocks

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

PATIENCE = 240.0  # seconds without any progress of the job, after which the script gives up
FEWEST_STEPS, TIMED_STEPS = 60, 12
SECONDS_EACH = 4.0  # of undisturbed training for each disturbance
LIMIT = 300_000  # bytes by which files may still grow: less than a checkpoint's, more than a step's events


@dataclass
class Site:
    """The processes that are disturbed."""

    broker: Callable[[], AbstractContextManager[str]]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _broker: AbstractContextManager[str] | None = None

    def start_broker(self) -> str:
        self._broker = self.broker()
        return self._broker.__enter__()

    def stop_broker(self) -> None:
        if self._broker:
            self._broker.__exit__(None, None, None)
            self._broker = None

    def start(self, name: str) -> None:
        """Starts the worker or beat."""
        arguments = {
            "worker": ["worker", "--pool", "threads", "-c", "4", "-l", "error"],
            "beat": ["beat", "-l", "error", "-s", str(Path(os.environ["GROOVE_VAR"]) / "schedule")],
        }[name]
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "webapp.config.settings",
            "GROOVE_MAX_CRASHES": "100",  # more often than anyone would let a job die
            "GROOVE_CPU_CORES": "2",
            "GROOVE_LEASE_SECONDS": "15",
        }
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "workers.celery", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self.stop_broker()


# --- disturbances ----------------------------------------------------------------------------------


def kill_child(site: Site, job: Any) -> str:
    """SIGKILL to the engine."""
    for pid in children(job):
        os.kill(pid, signal.SIGKILL)
    return "engine killed"


def kill_worker(site: Site, job: Any) -> str:
    """SIGKILL to the worker with everything in its session; a new one is started at once."""
    os.killpg(site.processes["worker"].pid, signal.SIGKILL)
    site.processes["worker"].wait()
    site.start("worker")
    return "worker killed"


def cut_database(site: Site, job: Any) -> str:
    """Every connection to the database but ours is ended by the server."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        (number,) = cursor.fetchone()
    return f"{number} database connections cut"


def stop_broker(site: Site, job: Any) -> str:
    """The broker is away for two seconds."""
    site.stop_broker()
    time.sleep(2)
    site.start_broker()
    return "broker gone for 2 s"


def fill_disk(site: Site, job: Any) -> str:
    """The engine's files cannot grow for three seconds, which checkpoints meet as a full disk."""
    pids = children(job)
    for pid in pids:
        largest = max((path.stat().st_size for path in events_files(job)), default=0)
        limit(pid, largest + LIMIT)
    time.sleep(3)
    for pid in pids:
        limit(pid, resource.RLIM_INFINITY)
    return "disk full for 3 s"


DISTURBANCES = [kill_child, kill_worker, cut_database, stop_broker, fill_disk]


def limit(pid: int, size: int) -> None:
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def events_files(job: Any) -> list[Path]:
    from django.conf import settings

    return list(Path(settings.WORK_DIR).glob(f"{job.uid}/attempt_*/out/events.jsonl"))


def engine_logs(job: Any) -> list[Path]:
    from django.conf import settings

    return list(Path(settings.WORK_DIR).glob(f"{job.uid}/attempt_*/engine.log"))


def is_running(job: Any, step: int) -> bool:
    """Return True if an engine works on the job and has done so many steps."""
    return bool(job.step >= step and children(job))


def children(job: Any) -> list[int]:
    """Process ids of the engines that work on the job."""
    marks = {f"/{job.uid}/attempt_".encode(), b"workers.engine"}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if all(mark in command for mark in marks):
                found.append(int(folder.name))
    return found


# --- the job ---------------------------------------------------------------------------------------


def launch(steps: int) -> Any:
    from webapp.home.sample_project import GRADER, create_sample_project
    from webapp.jobs.launch.request import JobRequest, single_task
    from webapp.jobs.launch.service import launch as launch_job
    from webapp.registry.services import ensure_starter_model
    from webapp.teams.models import Team, User

    user, new = User.objects.get_or_create(email="crash@example.com")
    team, _ = Team.objects.get_or_create(name="Crash", slug="crash")
    if new:
        create_sample_project(team, user)
    dataset, grader = team.datasets.get(), team.graders.get(name=GRADER)
    return launch_job(
        JobRequest(
            team=team,
            user=user,
            name="crash",
            base_model=ensure_starter_model(),
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
            settings={
                "grpo": {
                    "max_steps": steps,
                    "prompts_per_step": 4,
                    "group_size": 4,
                    "learning_rate": 3e-4,
                    "max_completion_length": 48,
                    "checkpoint_every": 4,
                },
                "evaluation": {
                    "every": 20,
                    "max_rows": 8,
                    "validation_max_rows": 4,
                    "samples_per_row": 2,
                    "validation_samples_per_row": 2,
                    "bootstrap_resamples": 100,
                },
                "preflight": {"rows": 0},
                "resources": {"device": "cpu", "cpu_cores": 1},
                "seed": 3,
            },
        )
    )


def wait_until(job: Any, reached: Callable[[], bool]) -> None:
    """Reload the job until ``reached``. Raises AssertionError if it ends or makes no progress before.

    A job that a full disk paused is resumed, as its owner would do after freeing space.
    """
    from webapp.jobs.services import resume_job
    from webapp.jobs.states import State

    last, until = None, 0.0
    while not reached():
        if job.state == State.PAUSED and job.error.code == "disk_full":
            resume_job(job, None)
            job.refresh_from_db()
        assert job.state in {State.VALIDATING_FILES, State.QUEUED, State.RUNNING}, describe(job)
        progress = (job.state, job.attempt, job.phase, job.step)
        if progress != last:
            last, until = progress, time.monotonic() + PATIENCE
        assert time.monotonic() < until, f"No progress for {PATIENCE:.0f} s. {describe(job)}"
        time.sleep(0.1)
        job.refresh_from_db()


def describe(job: Any) -> str:
    """Return where the job stands, its latest events and, from each engine's process, its stack."""
    pids = children(job)
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    time.sleep(1)
    logs = [path.read_text(errors="replace")[-6000:] for path in engine_logs(job)]
    lines = [f"{event.attempt}: {event.kind} {event.data}" for event in job.events.order_by("-id")[:20]]
    place = f"The job is {job.state} in {job.phase}, step {job.step}, attempt {job.attempt}: {job.error}"
    return "\n".join([place, f"Engines: {pids}", *reversed(lines), *logs])


def finish(job: Any) -> Any:
    from webapp.jobs.states import State

    wait_until(job, lambda: job.state == State.SUCCEEDED)
    return job


def outcome(job: Any) -> dict[str, Any]:
    """Everything that must not depend on what happened on the way."""
    (adapter,) = (file for file in job.tuned_model.files if file["name"] == "adapter_model.safetensors")
    metrics = {step: without_clocks(values) for step, values in job.metrics.values_list("step", "values")}
    hidden = {"id", "job_id"}
    rollouts = [
        {name: value for name, value in row.items() if name not in hidden}
        for row in job.rollouts.order_by("step", "index").values()
    ]
    after = job.evaluations.get(stage="after", split="test", task="")
    rows = [(row.row_id, row.base, row.tuned) for row in after.compared_rows.order_by("index")]
    return {"adapter": adapter["sha256"], "metrics": metrics, "rollouts": rollouts, "evaluation": rows}


def choose_steps(times: int) -> int:
    """Time a short job, and return the steps of one that lasts long enough for so many disturbances."""
    job = finish(launch(TIMED_STEPS))
    seconds = median(values["step_time"] for values in job.metrics.values_list("values", flat=True))
    steps = max(FEWEST_STEPS, ceil(times * SECONDS_EACH / seconds))
    print(f"A step takes {seconds:.2f} s, so the job gets {steps}.", flush=True)
    return steps


def disturb(site: Site, job: Any, times: int, chance: random.Random, steps: int) -> list[int]:
    """Spread the disturbances over the job, each kind equally often; return the step of each."""
    kinds = [DISTURBANCES[number % len(DISTURBANCES)] for number in range(times)]
    chance.shuffle(kinds)
    met: list[int] = []
    for number, kind in enumerate(kinds):
        least = number * (steps - 2) // times
        wait_until(job, partial(is_running, job, least))
        time.sleep(chance.uniform(0, 1.5))
        job.refresh_from_db()
        print(f"  {number + 1:2}. step {job.step:3}, attempt {job.attempt:2}: {kind(site, job)}", flush=True)
        met.append(job.step)
    return met


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    from webapp.config.processes import embedded

    with tempfile.TemporaryDirectory(prefix="groove-crash-") as folder:
        site = Site(lambda: embedded.run_valkey(Path(folder)))
        os.environ["BROKER_URL"] = site.start_broker()
        try:
            return run(site, arguments.times, arguments.steps, random.Random(arguments.seed))
        finally:
            site.stop()


def run(site: Site, times: int, steps: int | None, chance: random.Random) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    site.start("beat")
    site.start("worker")
    steps = steps or choose_steps(times)
    calm = outcome(finish(launch(steps)))
    print(f"Undisturbed: adapter {calm['adapter'][:16]}, {len(calm['rollouts'])} rollouts.", flush=True)
    job = launch(steps)
    met = disturb(site, job, times, chance, steps)
    wild = outcome(finish(job))
    print(f"Disturbed {times} times: adapter {wild['adapter'][:16]}, {job.attempt} attempts.")
    same = {name: calm[name] == wild[name] for name in calm}
    for name, equal in same.items():
        print(f"  {name}: {'the same' if equal else 'DIFFERENT'}")
    late = sum(step >= steps - 1 for step in met)
    print(f"  {late} of {times} disturbances fell on the last step or after it")
    return 0 if all(same.values()) and late <= max(1, times // 5) else 1


if __name__ == "__main__":
    sys.exit(main())
