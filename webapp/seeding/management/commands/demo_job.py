"""``manage.py demo_job``: launch the sample job as its user would, and follow it."""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError

from webapp.datasets.models import DatasetVersion
from webapp.environments.models import EnvironmentInspection, EnvironmentVersion, TaskDataset
from webapp.environments.services import REWARD_GRADER
from webapp.graders.services import find_or_create_version
from webapp.home.sample_project import create_sample_environment, create_sample_project
from webapp.jobs.launch.request import JobRequest, TaskChoice, single_task
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Evaluation, Job
from webapp.jobs.states import TERMINAL, State
from webapp.registry.models import BaseModel
from webapp.registry.services import ensure_starter_model, ensure_tool_starter_model
from webapp.teams.models import Team, User
from webapp.teams.services import create_confirmed_user, create_team
from webapp.work.models import WorkState
from workers.contract.events import Interval

EMAIL = "demo@example.com"


def demo_user() -> tuple[User, str]:
    """The demo's owner and the password, which is kept in a file that only this user can read."""
    file = settings.VAR_DIR / "demo.password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(12))
    password = file.read_text()
    user = User.objects.filter(email=EMAIL).first() or create_confirmed_user(EMAIL, password)
    user.set_password(password)
    user.save()
    return user, password


def demo_team(user: User) -> Team:
    return user.teams.order_by("id").first() or create_team(user, "Demo")


def sample_job(user: User, team: Team) -> Job:
    """The sample project's job with the base model's recommended settings."""
    dataset, grader = create_sample_project(team, user)
    version, grader_version = dataset.versions.first(), grader.versions.first()
    assert version is not None
    assert grader_version is not None
    return launch_sample(
        user, team, "Sample job", ensure_starter_model(), single_task(version, grader_version)
    )


def launch_sample(user: User, team: Team, name: str, base: BaseModel, tasks: list[TaskChoice]) -> Job:
    """Launch a job with the settings that its base model recommends."""
    return launch(
        JobRequest(team=team, user=user, name=name, base_model=base, tasks=tasks, settings=base.settings)
    )


def refund_desk_job(user: User, team: Team) -> Job:
    """The refund desk's job, launched once a worker has checked the environment and made its dataset."""
    version = create_sample_environment(team, user).versions.first()
    assert version is not None
    grader_version = find_or_create_version(team, user, REWARD_GRADER)
    tasks = single_task(wait_for_tasks(version), grader_version, version)
    return launch_sample(user, team, "Refund desk", ensure_tool_starter_model(), tasks)


def wait_for_tasks(version: EnvironmentVersion) -> DatasetVersion:
    """Return the dataset version of an environment's tasks once it and the inspection are done."""
    while True:
        made = TaskDataset.objects.filter(version=version).latest("id")
        inspection = EnvironmentInspection.objects.get(version=version)
        for item in (made, inspection):
            if item.state == WorkState.FAILED and item.error:
                raise CommandError(f"{item.error.message} {item.error.remedy}")
        if made.dataset_version and not inspection.pending:
            return made.dataset_version
        time.sleep(0.5)


SAMPLES = {"office": sample_job, "refund-desk": refund_desk_job}
"""Jobs that the demo can run, by name."""


def line(job: Job) -> str:
    """One line that says how far the job is."""
    progress = job.progress
    parts = [job.get_state_display(), job.phase]
    if progress.total:
        parts.append(f"{progress.done}/{progress.total} {progress.unit}")
    metric = job.metrics.order_by("-step").first()
    if metric and "reward" in metric.values:
        parts.append(f"reward {metric.values['reward']:.3f}")
    if progress.eta_seconds:
        parts.append(f"about {progress.eta_seconds:.0f} s left")
    return "  ".join(part for part in parts if part)


def outcome(job: Job, total_seconds: float) -> dict[str, Any]:
    """What ``make demo ONESHOT=1`` prints last; rewards are means on the sealed test split."""
    result = Evaluation.objects.filter(job=job, stage="after", split="test").first()
    model = job.tuned_model
    return {
        "job": job.uid,
        "base_reward": result and result.base.reward.mean,
        "tuned_reward": result and result.tuned and result.tuned.reward.mean,
        "difference_interval": result and _ends(result.difference),
        "train_seconds": round(job.train_seconds, 1),
        "total_seconds": round(total_seconds, 1),
        "adapter": model and default_storage.path(model.prefix),
    }


def _ends(interval: Interval | None) -> list[float] | None:
    if interval is None or interval.low is None or interval.high is None:
        return None
    return [interval.low, interval.high]


def improved(result: dict[str, Any]) -> bool:
    """Whether the paired interval of the improvement lies above 0."""
    return bool(result["difference_interval"]) and result["difference_interval"][0] > 0


class Command(BaseCommand):
    help = "Launch the sample job and follow it to its end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--oneshot", action="store_true")
        parser.add_argument("--sample", choices=SAMPLES, default="office")
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--began", type=float, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        user, password = demo_user()
        job = SAMPLES[options["sample"]](user, demo_team(user))
        address = f"http://127.0.0.1:{options['port']}"
        self.stdout.write(f"Groove runs at {address}   sign in as {EMAIL} with {password}")
        self.stdout.write(f"The sample job: {address}{job.get_absolute_url()}")
        self.follow(job)
        result = outcome(job, time.time() - options["began"])
        (settings.VAR_DIR / "demo.json").write_text(json.dumps(result) + "\n")
        if options["oneshot"]:
            sys.exit(0 if job.state == State.SUCCEEDED and improved(result) else 1)
        self.stdout.write(json.dumps(result))
        self.stdout.write(f"Groove stays up at {address}; Ctrl-C stops it.")
        threading.Event().wait()

    def follow(self, job: Job) -> None:
        """Print a line whenever something changed, until the job has ended."""
        last = ""
        while True:
            job.refresh_from_db()
            if (now := line(job)) != last:
                self.stdout.write(now)
                last = now
            if State(job.state) in TERMINAL:
                break
            time.sleep(1)
        if job.error:
            self.stderr.write(f"{job.error.message} {job.error.remedy}")
