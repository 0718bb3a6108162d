"""``manage.py seed``: fill a team with made-up work, to measure and to look at pages."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapp.jobs.models import Job
from webapp.seeding.seed import Sizes, seed
from webapp.teams.models import User
from webapp.teams.services import create_confirmed_user, create_team

EMAIL = "seed@example.com"
TEAM = "Seeded"


class Command(BaseCommand):
    help = "Fill a new team with made-up jobs. Not for a database that people work with."

    def add_arguments(self, parser: ArgumentParser) -> None:
        usual = Sizes()
        parser.add_argument("--jobs", type=int, default=usual.jobs)
        parser.add_argument(
            "--points", type=int, default=usual.points, help="numbers of metrics, over all steps"
        )
        parser.add_argument("--rollouts", type=int, default=usual.rollouts)
        parser.add_argument("--beside-real-jobs", action="store_true", help="even where people have jobs")

    def handle(self, *args: Any, **options: Any) -> None:
        if User.objects.filter(email=EMAIL).exists():
            raise CommandError("This database is seeded already.")
        if Job.objects.exists() and not options["beside_real_jobs"]:
            raise CommandError(
                "This database has jobs. Seed another one (DATABASE_URL), or say --beside-real-jobs."
            )
        password = secrets.token_urlsafe(12)
        user = create_confirmed_user(EMAIL, password)
        sizes = Sizes(options["jobs"], options["points"], options["rollouts"])
        job = seed(create_team(user, TEAM), user, sizes)
        self.stdout.write(f"Sign in as {EMAIL} with {password}; the newest job: {job.get_absolute_url()}")
