"""What the command palette finds: pages, actions and objects of one team."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.urls import reverse

from webapp.datasets.models import Dataset
from webapp.graders.models import Grader
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry.models import TunedModel
from webapp.teams.access import Access
from webapp.teams.models import Role

OF_A_KIND = 6
Named = QuerySet[Dataset] | QuerySet[Grader] | QuerySet[TunedModel]


@dataclass(frozen=True)
class Entry:
    """One line of the palette."""

    label: str
    url: str
    icon: str
    note: str = ""


@dataclass(frozen=True)
class Place:
    """A page or action that stands at a fixed address, found by its label and ``words``."""

    label: str
    view: str
    icon: str
    role: Role = Role.VIEWER
    words: str = ""


PAGES = (
    Place("Home", "home:overview", "house"),
    Place("Datasets", "datasets:list", "database"),
    Place("Graders", "graders:list", "scale"),
    Place("Judges", "judges:list", "gavel", words="endpoints labels cards"),
    Place("Jobs", "jobs:list", "activity", words="runs training"),
    Place("Models", "catalog:list", "package", words="adapters"),
    Place("Base models", "registry:bases", "layers"),
    Place("Workers", "jobs:workers", "server", words="nodes gpus queue"),
    Place("Members", "teams:members", "users", words="roles invitations settings"),
    Place("Team settings", "home:settings", "settings", Role.OWNER, "name retention rollouts quota limit"),
    Place("Audit trail", "teams:audit", "scroll-text", Role.OWNER, "log who"),
)
ACTIONS = (
    Place("Launch a job", "jobs:new", "zap", Role.EDITOR, "new train run"),
    Place("Upload a dataset", "datasets:new", "upload", Role.EDITOR, "new add import"),
    Place("Write a grader", "graders:new", "plus", Role.EDITOR, "new add"),
    Place("Import a grader", "graders:import", "upload", Role.EDITOR, "new add openai json"),
    Place("Connect a judge", "judges:new", "plug", Role.OWNER, "new add endpoint key"),
    Place("Invite member", "teams:members", "mail", Role.OWNER, "new add member"),
)
ANYWHERE = (
    Place("Your account", "account", "user", words="settings e-mail notifications keys"),
    Place("Change the password", "account_change_password", "key-round", words="account"),
    Place("New team", "home:new_team", "plus"),
)


def _places(access: Access, places: tuple[Place, ...], text: str, where: list[str]) -> Iterator[Entry]:
    for place in places:
        if access.may(place.role) and _fits(text, f"{place.label} {place.words}"):
            yield Entry(place.label, reverse(place.view, args=where), place.icon)


def _fits(text: str, haystack: str) -> bool:
    """Whether every word of ``text`` begins a word of ``haystack``."""
    words = haystack.lower().split()
    return all(any(word.startswith(part) for word in words) for part in text.lower().split())


def _named(objects: Named, access: Access, text: str, icon: str) -> list[Entry]:
    found = objects.filter(team=access.team, deleted_at=None, name__icontains=text).select_related("team")
    return [Entry(each.name, each.get_absolute_url(), icon) for each in found.order_by("-id")[:OF_A_KIND]]


def _jobs(access: Access, text: str) -> list[Entry]:
    kept = Job.objects.filter(team=access.team, deleted_at=None).select_related("team")
    found = kept.filter(Q(name__icontains=text) | Q(uid=text) | Q(tags__contains=[text]))
    jobs = found.defer("settings", "preflight").order_by("-id")[:OF_A_KIND]
    return [Entry(job.name, job.get_absolute_url(), "activity", State(job.state).label) for job in jobs]


def find(access: Access, text: str) -> list[tuple[str, list[Entry]]]:
    """Groups with a heading each, none empty. Without ``text``: the newest jobs, all actions and pages."""
    text = text.strip()
    groups = [("Jobs", _jobs(access, text))]
    if text:
        groups += [
            ("Datasets", _named(Dataset.objects.all(), access, text, "database")),
            ("Graders", _named(Grader.objects.all(), access, text, "scale")),
            ("Models", _named(TunedModel.objects.all(), access, text, "package")),
        ]
    team = [access.team.slug]
    places = [
        ("Actions", list(_places(access, ACTIONS, text, team))),
        ("Pages", [*_places(access, PAGES, text, team), *_places(access, ANYWHERE, text, [])]),
    ]
    return [
        (heading, entries) for heading, entries in (places + groups if text else groups + places) if entries
    ]
