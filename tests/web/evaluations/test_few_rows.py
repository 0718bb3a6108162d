"""One test row has no interval: every page and export that shows the result says so, and draws none."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.urls import reverse

from tests.web.comparison import compare, finished_job, row, sample, tuned_model
from tests.web.retention.test_retention import told
from webapp.experiments.control_run_results import build_results
from webapp.experiments.control_runs import launch_control_run
from webapp.jobs.evaluations import record_retention
from webapp.jobs.models import Evaluation, Job
from webapp.jobs.states import State
from webapp.teams.models import Team, User
from workers.contract.statistics import FEWEST_ROWS
from workers.engine.evaluation.statistics import Resampling

MEAN = Resampling(0.95, 100, 1)
SAYS = f"o interval below {FEWEST_ROWS} rows"
BRACKETS = re.compile(r"\[[+\N{MINUS SIGN}-]?\d\.\d+, ")


def one_row(job: Job) -> Evaluation:
    """What the engine tells of a single row."""
    kept = compare(job, [row("a", [sample(0.25, "x")], [sample(0.75, "y")])])
    assert kept.tuned is not None
    for side in (kept.base, kept.tuned):
        side.reward = side.pass_at_1 = MEAN([side.reward.mean])
    kept.difference = MEAN([0.5])
    kept.save()
    return kept


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    job = finished_job(team, alice)
    one_row(job)
    tuned_model(job)
    few = {"base": MEAN([0.7]), "tuned": MEAN([0.5]), "forgetting": MEAN([0.2]), "drift": None}
    record_retention(job, told("Tickets", 0.2, rows=1, **few))
    return job


@pytest.mark.parametrize(
    "name",
    ["jobs:detail", "jobs:list", "experiments:control_runs", "evaluations:compare", "catalog:model"],
)
def test_every_page_says_that_there_is_no_interval(
    job: Job, alice: User, as_user: Callable[[User], object], name: str
) -> None:
    uid = {"catalog": [job.tuned_model.uid], "jobs:list": []}  # type: ignore[union-attr]
    arguments = uid.get(name, uid.get(name.partition(":")[0], [job.uid]))
    text = as_user(alice).get(reverse(name, args=[job.team.slug, *arguments])).text  # type: ignore[attr-defined]
    assert SAYS in text
    assert not BRACKETS.search(text)


def test_comparison_of_jobs_and_arms_says_so_too(
    job: Job, alice: User, as_user: Callable[[User], object]
) -> None:
    placebo = launch_control_run(job, alice, "placebo")
    placebo.state = State.SUCCEEDED
    placebo.save()
    one_row(placebo)
    found = build_results(job)
    assert found is not None
    difference = found.runs[1].rft_minus_run
    assert difference is not None
    assert (difference.mean, difference.low, str(difference)) == (0.0, None, "+0.000")
    page = (
        as_user(alice)
        .get(  # type: ignore[attr-defined]
            reverse("experiments:compare", args=[job.team.slug]), {"job": [job.uid, placebo.uid]}
        )
        .text
    )
    assert SAYS in page
    assert not BRACKETS.search(page)


def test_exports_have_no_bounds(job: Job, alice: User, as_user: Callable[[User], object]) -> None:
    url = reverse("evaluations:numbers", args=[job.team.slug, job.uid])
    numbers = as_user(alice).get(url).json()  # type: ignore[attr-defined]
    assert numbers["difference"] == {"mean": 0.5, "low": None, "high": None}
    assert numbers["fewest_rows_for_intervals"] == FEWEST_ROWS
