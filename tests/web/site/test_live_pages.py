"""A page that was opened early shows what a reload would: every live fragment, after every change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.web.comparison import compare, finished_job, row, sample, tuned_model
from tests.web.evals.runs import queued_run
from tests.web.jobs.launch.test_preflight import REPORT
from tests.web.jobs.test_services import rollouts
from tests.web.tab import Tab, live_ids, part
from webapp.datasets.uploads import imports
from webapp.endpoints import services as endpoints
from webapp.endpoints.queues import ENDPOINT_CHECKS
from webapp.environments.plays.services import start_play
from webapp.environments.queues import INSPECTIONS as ENVIRONMENT_INSPECTIONS
from webapp.environments.queues import PLAYS
from webapp.environments.services import create_environment
from webapp.evals.queues import EVAL_RUNS
from webapp.experiments.control_runs import launch_control_run
from webapp.experiments.interference import launch_interference
from webapp.graders.queues import CHECKS, TRIALS, request_check
from webapp.graders.services import create_trial
from webapp.home.sample_project import create_sample_project
from webapp.jobs import recording, services
from webapp.jobs.launch.request import JobRequest, TaskChoice, single_task
from webapp.jobs.launch.service import launch, validate_files
from webapp.jobs.models import Job
from webapp.jobs.queue import claim_job
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.registry import exporting, inspections
from webapp.registry.models import BaseModel
from webapp.registry.queues import EXPORTS, INSPECTIONS
from webapp.registry.services import ensure_starter_model
from webapp.remote_imports.models import RemoteImport
from webapp.remote_imports.services import REMOTE_IMPORTS
from webapp.serving.models import ModelServer
from webapp.serving.queues import SERVERS
from webapp.teams.models import Team, User
from webapp.work import nodes
from webapp.work.errors import WorkFailed
from webapp.work.queue import Queue
from workers.contract.devices import NodeDevices
from workers.contract.events import (
    AlarmEvent,
    ErrorEvent,
    Event,
    Interval,
    LogEvent,
    MetricsEvent,
    PhaseEvent,
    PreflightEvent,
    ProgressEvent,
    RetentionEvent,
)
from workers.environments.examples import list_examples

SignIn = Callable[[User], Client]
Change = Callable[[], object]
TEMPLATES = Path(settings.BASE_DIR) / "templates"
TRIGGER = re.compile(r'hx-trigger="[^"]*(live:|calm:|every )')
ID = re.compile(r'\bid="([^"]+)"')
# Fragments that offer what is new and leave alone what is being read.
OFFERS = {"newer", "comparisons"}
JOB_PAGES = {
    "": {"job-head", "job-actions", "job-health", "job-evaluations", "job-checkpoints", "job-lines"},
    "preflight/": {"job-actions", "preflight-waiting", "preflight-advice", "preflight-outcomes"},
    "log/": {"job-actions", "log-lines"},
    "rollouts/": {"job-actions", "newer"},
    "compare/": {"job-actions", "comparisons"},
    "retention/": {"job-actions"},
    "arms/": {"job-actions"},
    "config/": {"job-actions"},
    "interference/": {"job-actions"},
}
OTHER_PAGES = {
    *("check", "grader-table", "grader-versions", "trial", "recent-trials", "endpoints", "card", "exports"),
    *("import", "inspection", "servers", "remote-import", "eval-results"),
    *("environment-table", "environment-checks", "play"),
}
PARTS_OF_PAGES = {"verdict-{{ trial.uid }}"}  # tests/web/playground follows it
LISTS = {"live", "job-table", "workers", "compared"}
ANSWERS = [sample(0.0, "x")], [sample(1.0, "y")]
SEVERAL_JOBS = {"control-run-results", "interference"}


class Clock:
    """The site's time, which stands still until it is moved: pages of one moment can be compared."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 29, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timezone, "now", clock)
    return clock


def live_in_templates() -> set[str]:
    """Ids of all elements that refresh by themselves, found in the templates."""
    found: set[str] = set()
    for template in TEMPLATES.rglob("*.html"):
        text = template.read_text()
        for trigger in TRIGGER.finditer(text):
            tag = text[text.rindex("<", 0, trigger.start()) : text.index(">", trigger.end())]
            found |= set(ID.findall(tag))
    return found


def test_every_live_fragment_of_the_templates_is_compared_below() -> None:
    assert (
        live_in_templates()
        == set().union(*JOB_PAGES.values()) | OTHER_PAGES | LISTS | SEVERAL_JOBS | PARTS_OF_PAGES
    )
    triggers = sum(len(TRIGGER.findall(each.read_text())) for each in TEMPLATES.rglob("*.html"))
    assert triggers == len(live_in_templates()), "a live element has no id, so it is not compared"


def assert_fresh(tab: Tab, when: str) -> None:
    """What the tab shows is what a reload shows, fragment by fragment."""
    fresh = tab.reloaded()
    for name in (live_ids(tab.text) | live_ids(fresh.text)) - OFFERS:
        assert part(tab.text, name) == part(fresh.text, name), f"#{name} of {tab.url} {when}"
    if "preflight" in tab.url or tab.url == tab.job.get_absolute_url():  # type: ignore[union-attr]
        assert part(tab.text, "main") == part(fresh.text, "main"), f"{tab.url} {when}"


def story(job: Job, end: Callable[[], object], clock: Clock) -> Iterator[tuple[str, Change]]:
    """A job's life, told by the services that workers and people call."""

    def report(*events: Event) -> Change:
        return lambda: recording.record_events(job.pk, Job.objects.get(pk=job.pk).attempt, events)

    def progress(phase: str, done: int, eta: float | None) -> ProgressEvent:
        return ProgressEvent.model_validate(
            {"phase": phase, "done": done, "total": 8, "unit": "answers", "eta_seconds": eta}
        )

    def metrics(step: int) -> MetricsEvent:
        return MetricsEvent(step=step, total_steps=5, values={"reward": step / 10, "step_time": 2.0})

    half = Interval(mean=0.5, low=0.4, high=0.6)
    alarm = AlarmEvent(
        step=2, code="no_signal", message="No signal.", threshold="1", evidence={"a": 1.0}, remedy="Stop."
    )  # fmt: skip
    kept = RetentionEvent(suite="", stage="before", step=0, rows=4, samples_per_row=1, base=half)
    yield "validated", lambda: validate_files(job.pk)
    yield "a worker comes", lambda: nodes.register_node("here", {}, NodeDevices(cpu_cores=2), {})
    yield "claimed", lambda: claim_job("here")
    yield "prepares", report(PhaseEvent(phase="prepare"), LogEvent(message="Hello"))
    yield "measures", report(PhaseEvent(phase="preflight"), progress("preflight", 2, None))
    yield "preflight", report(PreflightEvent.model_validate(REPORT), kept)
    yield "trains", report(progress("preflight", 8, None), PhaseEvent(phase="train"))
    yield "one step", report(metrics(1), rollouts(1), progress("train", 1, 40.0))
    yield "time passes", lambda: clock.move(11)
    yield "another step", report(metrics(2), rollouts(2), progress("train", 2, 30.0), alarm)
    yield "checkpoint", lambda: recording.record_checkpoint(job.pk, 1, 2, "k", 10, "0" * 64, "1" * 64)
    yield "validation", lambda: validate(job)
    yield "asked to pause", lambda: services.request_pause(job, None)
    yield "an error", report(ErrorEvent(code="preflight", message="Waits.", remedy="Go on."))
    yield "paused", lambda: change_state(job.pk, State.PAUSED)
    yield "time stands", lambda: clock.move(100)
    yield "resumed", lambda: services.resume_job(job, None)
    yield "claimed again", lambda: claim_job("here")
    yield "goes on", lambda: recording.begin_attempt(job.pk, 2, 1)
    yield "trains on", report(PhaseEvent(phase="train"), metrics(2), progress("train", 2, 20.0))
    yield "is late", lambda: clock.move(60)
    yield "evaluates", report(PhaseEvent(phase="evaluate"), progress("evaluate", 3, 10.0))
    yield "compared", lambda: (validate(job, "after"), report(PhaseEvent(phase="package"))())
    yield "ended", end


def validate(job: Job, stage: str = "during") -> None:
    """An evaluation, recorded and told as a worker's batch is."""
    from webapp.jobs.job_events import add_event

    job.refresh_from_db()
    compare(job, [row("a", [sample(0.0, "x")], [sample(1.0, "y")])], stage=stage)  # type: ignore[arg-type]
    add_event(job.pk, job.attempt, "evaluation", {"stage": stage, "split": "test", "step": job.step})


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return launch(
        JobRequest(
            team=team,
            user=alice,
            name="Live",
            base_model=ensure_starter_model(),
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
            settings={"grpo": {"max_steps": 5}},
        )
    )


def ends(job: Job) -> dict[str, Change]:
    def fail() -> None:
        recording.record_events(
            job.pk,
            Job.objects.get(pk=job.pk).attempt,
            [ErrorEvent(code="x", message="It broke.", remedy="Mend it.")],
        )
        change_state(job.pk, State.FAILED)

    return {
        "succeeded": lambda: change_state(job.pk, State.SUCCEEDED),
        "failed": fail,
        "cancelled": lambda: services.request_cancel(job, None),
    }


UNTOLD = {"a worker comes", "time passes", "time stands", "is late"}  # no event tells these: pages poll
READ = ("", "preflight/", "log/")  # pages with fragments of their own


def test_pages_of_a_job_follow_it_from_the_queue_to_its_end(
    job: Job, alice: User, as_user: SignIn, clock: Clock
) -> None:
    """By its events alone where there are any: polling is a net below the stream, not a part of it."""
    client = as_user(alice)
    tabs = [Tab(client, job.get_absolute_url() + page, job) for page in READ]
    for when, change in story(job, ends(job)["succeeded"], clock):
        change()
        for tab in tabs:
            tab.follow(clock=when in UNTOLD)
            assert_fresh(tab, when)
    for tab, page in zip(tabs, READ, strict=True):
        assert tab.ever_live >= JOB_PAGES[page], tab.url
        assert not live_ids(tab.text), tab.url


@pytest.mark.parametrize(
    ("outcome", "pages"), [("succeeded", JOB_PAGES), ("failed", READ), ("cancelled", [""])]
)
def test_every_page_of_a_job_shows_its_actions_and_its_end(
    outcome: str, pages: Sequence[str], job: Job, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    tabs = [Tab(client, job.get_absolute_url() + page, job) for page in pages]
    nodes.register_node("here", {}, NodeDevices(cpu_cores=2), {})

    def start() -> None:
        validate_files(job.pk)
        claim_job("here")
        recording.record_events(job.pk, 1, [PhaseEvent(phase="train"), rollouts(1)])

    for change in (start, lambda: services.request_pause(job, None), ends(job)[outcome]):
        change()
        for tab in tabs:
            tab.follow()
            assert_fresh(tab, outcome)
    for tab, page in zip(tabs, pages, strict=True):
        assert tab.ever_live | {"preflight-advice", "preflight-outcomes"} >= JOB_PAGES[page], tab.url
        assert not live_ids(tab.text) - OFFERS, tab.url


def test_a_page_drawn_while_the_state_changes_hears_of_the_change(
    job: Job, alice: User, as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cursor is read with the job: an event that comes behind the job's row is not lost."""
    from webapp.jobs.monitor import phases

    real = phases.list_steps

    def interrupted(drawn: Job) -> list[phases.Step]:
        steps = real(drawn)
        monkeypatch.setattr(phases, "list_steps", real)
        validate_files(job.pk)
        return steps

    monkeypatch.setattr(phases, "list_steps", interrupted)
    tab = Tab(as_user(alice), job.get_absolute_url(), job)
    tab.follow()
    assert_fresh(tab, "queued while it was drawn")


def test_lists_and_homes_follow_jobs(
    team: Team, job: Job, alice: User, as_user: SignIn, clock: Clock
) -> None:
    client = as_user(alice)
    pages = ("", "jobs/", "jobs/workers/", f"jobs/compare/?job={job.uid}")
    tabs = [Tab(client, f"/t/{team.slug}/{page}", job) for page in pages]
    assert {name for tab in tabs for name in tab.ever_live} == LISTS
    for when, change in story(job, ends(job)["failed"], clock):
        change()
        for tab in tabs:
            tab.follow(clock=True)
            fresh = tab.reloaded()
            for name in live_ids(tab.text):
                assert part(tab.text, name) == part(fresh.text, name), (name, when)


def test_jobs_held_against_each_other_are_followed(
    team: Team, job: Job, alice: User, as_user: SignIn
) -> None:
    """A placebo beside its job, and jobs that train one of two tasks."""
    client, done = as_user(alice), finished_job(team, alice)
    tasks = [TaskChoice(name, job.dataset_version, job.grader_version) for name in ("one", "two")]
    both = launch(
        JobRequest(team=team, user=alice, name="Both", base_model=job.base_model, tasks=tasks, settings={})
    )
    Job.objects.filter(pk=both.pk).update(state=State.SUCCEEDED)
    both.refresh_from_db()
    for each in (done, both):
        compare(each, [row("one/1", *ANSWERS)])
    others = [launch_control_run(done, alice, "placebo"), *launch_interference(both, alice)]
    tabs = [
        Tab(client, reverse("experiments:control_runs", args=[team.slug, done.uid])),
        Tab(client, reverse("experiments:interference", args=[team.slug, both.uid])),
    ]
    assert {name for tab in tabs for name in tab.ever_live} == SEVERAL_JOBS

    def validate_all() -> None:
        for other in others:
            validate_files(other.pk)

    def end_all() -> None:
        for other, state in zip(others, (State.SUCCEEDED, State.FAILED, State.CANCELLED), strict=True):
            Job.objects.filter(pk=other.pk).update(state=state)

    for change in (validate_all, lambda: compare(others[0], [row("one/1", *ANSWERS)]), end_all):
        change()
        for tab, name in zip(tabs, ("control-run-results", "interference"), strict=True):
            tab.follow(clock=True)
            assert part(tab.text, name) == part(tab.reloaded().text, name), (name, change)
    assert not any(live_ids(tab.text) for tab in tabs)


def test_pages_that_wait_for_a_worker_show_its_end(team: Team, alice: User, as_user: SignIn) -> None:
    """Work of every kind that a worker does for a page: queued, running, ended."""
    client, done = as_user(alice), finished_job(team, alice)
    model, version = tuned_model(done), done.grader_version
    grader = version.grader
    endpoint = endpoints.connect_endpoint(
        team, alice, name="judge", base_url="https://judge.example/v1", model="m", api_key="k"
    )
    endpoints.request_check(endpoint)
    request_check(version)
    trial = create_trial(
        team, alice, version.definition, [{"messages": [{"role": "user", "content": "Hi"}]}],
        {"answers": ["typed"]}, grader=grader,
    )  # fmt: skip
    export = exporting.request_export(model, alice, "merged")
    imported = imports.request_import(
        team, alice, source="https://files.example/a.jsonl", name="", options=imports.Options(), dataset=None
    )
    base = BaseModel.objects.create(team=team, model_id="some/model")
    inspections.request_inspection(base)
    run = queued_run(team)
    server = ModelServer.objects.create(base_model=base)
    remote = RemoteImport.objects.create(
        team=team, base_url="https://api.example/v1", ticket="t", files=["file-1"], created_by=alice
    )
    environment = create_environment(team, alice, "Numbers", list_examples()[0].source)
    played = environment.versions.get()
    play = start_play(played, alice, "train", {"seed": 0})
    urls = [
        f"/t/{team.slug}/environments/", played.get_absolute_url(), play.get_absolute_url(),
        grader.get_absolute_url() + f"?trial={trial.uid}", version.get_absolute_url(),
        f"/t/{team.slug}/graders/", f"/t/{team.slug}/judges/", model.get_absolute_url(),
        imported.get_absolute_url(), reverse("registry:base", args=[team.slug, base.uid]),
        run.get_absolute_url(),
        reverse("serving:usage", args=[team.slug]), remote.get_absolute_url(),
    ]  # fmt: skip
    tabs = [Tab(client, url) for url in urls]
    seen = {name for tab in tabs for name in tab.ever_live}
    assert seen == OTHER_PAGES - {"card"}  # tests/web/judges/test_cards.py follows a card
    taken: list[tuple[Queue[Any], Any]] = []

    def take() -> None:
        items = [
            (CHECKS, version.check_run), (TRIALS, trial), (EXPORTS, export), (imports.IMPORTS, imported),
            (ENDPOINT_CHECKS, endpoint.last_check), (INSPECTIONS, base.inspection),
            (EVAL_RUNS, run),
            (SERVERS, server), (REMOTE_IMPORTS, remote),
            (ENVIRONMENT_INSPECTIONS, played.inspection), (PLAYS, play),
        ]  # fmt: skip
        taken.extend((queue, queue.claim(item.pk)) for queue, item in items)

    def end() -> None:
        for queue, item in taken:
            assert queue.fail(item, WorkFailed("No room.", "Make some."))

    for change in (take, end):
        change()
        for tab in tabs:
            tab.follow(clock=True)
            fresh = tab.reloaded()
            for name in {*seen, "found"}:
                assert part(tab.text, name) == part(fresh.text, name), (name, tab.url, change.__name__)
    left = {name for tab in tabs for name in live_ids(tab.text)}
    # The check of the sample's other grader still waits; a server may start at any time.
    assert left <= {"grader-table", "servers"}
