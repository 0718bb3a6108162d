"""Print a new API key, for scripts: ``python manage.py create_key --team SLUG --user EMAIL``."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email, validate_slug
from django.db import transaction

from webapp.keys.models import Scope
from webapp.keys.services import create_key
from webapp.teams.models import Membership, Role, Team, User
from webapp.teams.services import create_team


class Command(BaseCommand):
    help = "Print a new API key as the last line. Creates the team and the user if they do not exist."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--user", required=True, metavar="EMAIL")
        parser.add_argument("--name", default="command line")
        parser.add_argument(
            "--scopes", nargs="+", choices=Scope.values, default=Scope.values, metavar="SCOPE",
            help=f"one or more of {', '.join(Scope.values)}; default: all",
        )  # fmt: skip

    @transaction.atomic
    def handle(self, *args: object, **options: object) -> None:
        slug, email = str(options["team"]), str(options["user"]).lower()
        try:
            validate_slug(slug)
            validate_email(email)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        user = User.objects.filter(email__iexact=email).first() or User.objects.create_user(email)
        team = Team.objects.filter(slug=slug).first()
        if team is None:
            team = create_team(user, slug)
            Team.objects.filter(pk=team.pk).update(slug=slug)
        Membership.objects.get_or_create(team=team, user=user, defaults={"role": Role.EDITOR})
        scopes = [Scope(each) for each in options["scopes"]]  # type: ignore[attr-defined]
        _, secret = create_key(team, user, str(options["name"]), scopes)
        self.stdout.write(secret)
