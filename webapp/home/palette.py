"""Search of the command palette: pages, actions and objects of one team."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.urls import reverse

from webapp.datasets.models import Dataset
from webapp.environments.models import Environment
from webapp.graders.models import Grader
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry.models import TunedModel
from webapp.teams.access import Access
from webapp.teams.models import Role

RESULTS_PER_KIND = 6
Named = QuerySet[Dataset] | QuerySet[Grader] | QuerySet[Environment] | QuerySet[TunedModel]


@dataclass(frozen=True)
class Entry:
    """A result of the palette."""

    label: str
    url: str
    icon: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """A page or action with a fixed URL. It is found by its label and ``words``."""

    label: str
    view: str
    icon: str
    role: Role = Role.VIEWER
    words: str = ""


PAGES = (
    Page("Home", "home:overview", "house"),
    Page("Datasets", "datasets:list", "database"),
    Page("Graders", "graders:list", "scale"),
    Page("Environments", "environments:list", "box", words="episodes tools tasks multi-step"),
    Page("Judges", "judges:list", "gavel", words="endpoints labels cards"),
    Page("Jobs", "jobs:list", "activity", words="runs training"),
    Page("Models", "catalog:list", "package", words="adapters"),
    Page("Base models", "registry:bases", "layers"),
    Page("Playground", "playground:page", "play", words="chat prompt compare answers"),
    Page("Evals", "evals:list", "list", words="runs criteria rows results"),
    Page("Deployments", "deployments:list", "layers", words="serving promote rollback"),
    Page("Interactions", "interactions:list", "message-square", words="feedback chat completions logs"),
    Page("Workers", "jobs:workers", "server", words="nodes gpus queue"),
    Page("Members", "teams:members", "users", words="roles invitations settings"),
    Page("API keys", "keys:list", "key-round", words="settings sdk openai secret token"),
    Page("Team settings", "home:settings", "settings", Role.OWNER, "name retention rollouts quota limit"),
    Page("Webhooks", "webhooks:list", "plug", Role.OWNER, "events notifications http signing secret"),
    Page("Audit trail", "teams:audit", "scroll-text", Role.OWNER, "log who"),
)
ACTIONS = (
    Page("Launch a job", "jobs:new", "zap", Role.EDITOR, "new train run"),
    Page("Upload a dataset", "datasets:new", "upload", Role.EDITOR, "new add import"),
    Page("Write a grader", "graders:new", "plus", Role.EDITOR, "new add"),
    Page("Write an environment", "environments:new", "plus", Role.EDITOR, "new add tools episodes"),
    Page("Import a grader", "graders:import", "upload", Role.EDITOR, "new add openai json"),
    Page("Import from OpenAI", "remote_imports:connect", "upload", Role.OWNER, "move groove"),
    Page("Connect a judge", "judges:new", "plug", Role.OWNER, "new add endpoint key"),
    Page("Deploy a model", "deployments:new", "layers", Role.EDITOR, "serve promote"),
    Page("Rules of interactions", "interactions:rules", "shield", Role.OWNER, "redaction consent retention"),
    Page("Create webhook", "webhooks:new", "plug", Role.OWNER, "new add event"),
    Page("Create an API key", "keys:list", "key-round", words="new add sdk openai"),
    Page("Invite member", "teams:members", "mail", Role.OWNER, "new add member"),
)
ANYWHERE = (
    Page("Your account", "account", "user", words="settings e-mail notifications keys"),
    Page("Change the password", "account_change_password", "key-round", words="account"),
    Page("New team", "home:new_team", "plus"),
)


def _find_pages(access: Access, pages: tuple[Page, ...], text: str, arguments: list[str]) -> Iterator[Entry]:
    for page in pages:
        if access.may(page.role) and _matches(text, f"{page.label} {page.words}"):
            yield Entry(page.label, reverse(page.view, args=arguments), page.icon)


def _matches(text: str, haystack: str) -> bool:
    """True if every word of ``text`` is a prefix of a word in ``haystack``."""
    words = haystack.lower().split()
    return all(any(word.startswith(part) for word in words) for part in text.lower().split())


def _find_named(objects: Named, access: Access, text: str, icon: str) -> list[Entry]:
    found = objects.filter(team=access.team, name__icontains=text).select_related("team")
    return [
        Entry(each.name, each.get_absolute_url(), icon) for each in found.order_by("-id")[:RESULTS_PER_KIND]
    ]


def _find_jobs(access: Access, text: str) -> list[Entry]:
    kept = Job.objects.alive().filter(team=access.team).select_related("team")
    found = kept.filter(Q(name__icontains=text) | Q(uid=text) | Q(tags__contains=[text]))
    jobs = found.defer("settings", "preflight").order_by("-id")[:RESULTS_PER_KIND]
    return [Entry(job.name, job.get_absolute_url(), "activity", State(job.state).label) for job in jobs]


def find_entries(access: Access, text: str) -> list[tuple[str, list[Entry]]]:
    """Return non-empty groups of results by heading. Without ``text``: new jobs, actions, pages."""
    text = text.strip()
    groups = [("Jobs", _find_jobs(access, text))]
    if text:
        groups += [
            ("Datasets", _find_named(Dataset.objects.alive(), access, text, "database")),
            ("Graders", _find_named(Grader.objects.alive(), access, text, "scale")),
            ("Environments", _find_named(Environment.objects.alive(), access, text, "box")),
            ("Models", _find_named(TunedModel.objects.alive(), access, text, "package")),
        ]
    team = [access.team.slug]
    fixed = [
        ("Actions", list(_find_pages(access, ACTIONS, text, team))),
        ("Pages", [*_find_pages(access, PAGES, text, team), *_find_pages(access, ANYWHERE, text, [])]),
    ]
    return [
        (heading, entries) for heading, entries in (fixed + groups if text else groups + fixed) if entries
    ]
