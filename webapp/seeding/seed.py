"""A database full of made-up work, to measure and to look at pages. No job of it was ever run."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from webapp.jobs.models import Job
from webapp.seeding import objects, rows
from webapp.seeding.made_up_text import CURVES
from webapp.teams.models import Team, User


@dataclass(frozen=True)
class Sizes:
    """How much there is: a point is one number of one step. The newest job has the largest share."""

    jobs: int = 2_000
    points: int = 2_000_000
    rollouts: int = 5_000_000

    def steps(self) -> tuple[int, int]:
        """Steps of the newest job, and of each other one."""
        steps = self.points // len(CURVES)
        newest = max(steps // 10, 1)
        return newest, max((steps - newest) // max(self.jobs - 1, 1), 1)

    def answers(self) -> tuple[int, int]:
        """Rollouts of the newest job, and of each other one."""
        newest = self.rollouts // 5
        return newest, (self.rollouts - newest) // max(self.jobs - 1, 1)


def seed(team: Team, user: User, sizes: Sizes) -> Job:
    """Fill the team. Returns its newest job, which is finished and has a model to download."""
    (longest, usual), (most, few) = sizes.steps(), sizes.answers()
    with transaction.atomic():
        jobs = objects.make(team, user, sizes.jobs, longest, usual)
    newest = jobs[-1]
    shares = [(job, most if job == newest else few) for job in jobs]
    with transaction.atomic():
        rows.copy_metrics(jobs)
        rows.copy_events(jobs)
    rows.copy_rollouts(shares)
    rows.analyze()
    return newest


def fill(job: Job, steps: int, rollouts: int) -> None:
    """Steps and rollouts behind those that a job has."""
    rows.copy_metrics([job], after=job.step, steps=steps)
    rows.copy_events([job], after=job.step, steps=steps)
    rows.copy_rollouts([(job, rollouts)], after=job.step, steps=steps)
    job.step = job.total_steps = job.step + steps
    job.save(update_fields=["step", "total_steps"])
