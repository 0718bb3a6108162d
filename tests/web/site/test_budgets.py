"""Budgets of pages: queries that do not grow with rows, small files, no other host, a strict policy."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.web.site.test_tenancy import ADDRESSES, Objects, objects  # noqa: F401 -- a fixture
from webapp.jobs.launch.service import check_settings
from webapp.jobs.models import ComparedRow, Job
from webapp.seeding.objects import compared_rows
from webapp.seeding.seed import Sizes, fill, seed
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
MOST_QUERIES = 16
KILOBYTE = 1000
STYLES = 30
GRADER_PAGES = ("detail", "version", "trial", "new", "import")
WITH_CURVES = (
    "jobs:detail",
    "experiments:compare",
    "jobs:preflight",
    "retention:page",
    "evaluations:compare",
)  # a job's, all
EDITORS = (*(f"graders:{page}" for page in GRADER_PAGES), "environments:detail")
SCRIPTS = dict.fromkeys(WITH_CURVES, 75) | dict.fromkeys(EDITORS, 220)
SCRIPTS_ELSEWHERE = 45
OUTSIDE = re.compile(r"""(?:src|srcset|action|poster)=["'](?:https?:)?//|<link[^>]+href=["'](?:https?:)?//""")
INLINE = re.compile(  # a data block is not run
    r"""<[^>]+\s(?:style|on[a-z]+)=["']|"""
    r"""<(?:script|style)(?![^>]*(?:src=|nonce=|type="application/json"))"""
)
FILES = re.compile(r"""<(?:script|link)[^>]+(?:src|href)=["']/static/([^"'?]+\.(?:js|css))""")
EVERYWHERE = ("/account/", "/teams/new/", "/account/ended/")


def pages(client: Client, team: Team, named: Objects) -> Iterator[tuple[str, HttpResponse]]:
    """Every page that a member can open, by the name of its address."""
    addresses: list[tuple[str, str]] = [(path, path) for path in EVERYWHERE]
    addresses += [(address.name, address.url(team.slug, named)) for address in ADDRESSES]
    for name, url in addresses:
        answer = client.get(url)
        html = answer.headers.get("Content-Type", "").startswith("text/html")
        if answer.status_code == 200 and html and b"<body" in answer.content:
            yield name, answer  # type: ignore[misc]


@pytest.fixture
def named(team: Team, objects: Objects) -> Objects:  # noqa: F811
    """The objects of the walk over all addresses; their job is grown."""
    Job.objects.update(settings=check_settings({}))
    return objects


def queries(client: Client, team: Team, named: Objects) -> dict[str, list[str]]:
    """The queries of every page, once whatever is cached for good has been read."""
    found = {}
    for name, answer in list(pages(client, team, named)):
        with CaptureQueriesContext(connection) as captured:
            client.get(answer.request["PATH_INFO"])  # type: ignore[attr-defined]
        found[name] = [query["sql"] for query in captured.captured_queries]
    return found


def grow(team: Team, user: User, named: Objects, sizes: Sizes) -> None:
    """More of everything in the team, and in the job whose pages are walked."""
    seed(team, user, sizes)
    job = Job.objects.get(uid=named["jobs"]["uid"])
    fill(job, steps=sizes.points, rollouts=sizes.rollouts)
    evaluation = job.evaluations.get(stage="after")
    first = evaluation.compared_rows.count()
    ComparedRow.objects.bulk_create(compared_rows(evaluation, first, sizes.jobs))


def shapes(found: list[str]) -> list[str]:
    return [re.sub(r"\d+", "0", sql)[:300] for sql in found]


def test_no_page_asks_more_often_when_there_is_more(
    team: Team, alice: User, named: Objects, as_user: SignIn
) -> None:
    client = as_user(alice)
    grow(team, alice, named, Sizes(jobs=6, points=2_500, rollouts=300))
    few = queries(client, team, named)
    grow(team, alice, named, Sizes(jobs=60, points=25_000, rollouts=3_000))
    many = queries(client, team, named)
    assert few.keys() == many.keys()
    assert {"jobs:detail", "jobs:rollouts", "evaluations:compare", "catalog:model"} <= many.keys()
    grown = {name: (len(few[name]), len(many[name])) for name in many if len(many[name]) > len(few[name])}
    assert grown == {}, grown
    too_many = {name: (len(sqls), shapes(sqls)) for name, sqls in many.items() if len(sqls) > MOST_QUERIES}
    assert too_many == {}, {name: count for name, (count, _) in too_many.items()}


def test_pages_ask_no_other_host_and_allow_no_inline_code(
    team: Team, alice: User, named: Objects, as_user: SignIn
) -> None:
    wrong: dict[str, Any] = {}
    for name, answer in pages(as_user(alice), team, named):
        policy, html = answer.headers["Content-Security-Policy"], answer.content.decode()
        inline = INLINE.search(html)
        if "unsafe" in policy or "http" in policy or "*" in policy or inline or OUTSIDE.search(html):
            wrong[name] = (policy, inline and inline.group(), OUTSIDE.findall(html))
    assert wrong == {}


def size(file: str) -> float:
    path = finders.find(file)
    assert path, f"{file} is not built: run `make assets`"
    return len(gzip.compress(Path(str(path)).read_bytes(), 9)) / KILOBYTE


def test_pages_load_little(team: Team, alice: User, named: Objects, as_user: SignIn) -> None:
    """Kilobytes as they travel, compressed."""
    wrong: dict[str, Any] = {}
    for name, answer in pages(as_user(alice), team, named):
        files = set(FILES.findall(answer.content.decode()))
        assert any(file.endswith(".js") for file in files), name
        scripts = sum(size(file) for file in files if file.endswith(".js"))
        styles = sum(size(file) for file in files if file.endswith(".css"))
        if scripts > SCRIPTS.get(name, SCRIPTS_ELSEWHERE) or styles > STYLES:
            wrong[name] = (round(scripts, 1), round(styles, 1))
    assert wrong == {}


def test_seeding_leaves_real_work_alone(team: Team, alice: User, named: Objects) -> None:
    with pytest.raises(CommandError, match="has jobs"):
        call_command("seed", jobs=2, points=40, rollouts=16)
    call_command("seed", jobs=2, points=40, rollouts=16, beside_real_jobs=True)
    job = Job.objects.filter(team__name="Seeded").latest("pk")
    assert job.rollouts.exists()
    assert job.metrics.count() == job.step
    with pytest.raises(CommandError, match="already"):
        call_command("seed", jobs=2, points=40, rollouts=16, beside_real_jobs=True)
