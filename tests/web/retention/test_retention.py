"""Suites: selection, records and pages; a model that may have lost too much is held back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.web.comparison import compare, finished_job, row, sample, tuned_model
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.home.sample_project import create_sample_project
from webapp.jobs import recording
from webapp.jobs.evaluations import record_retention
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch, validate_files
from webapp.jobs.models import Job, JobSuite, SuiteScore
from webapp.jobs.queue import claim_job
from webapp.registry.services import ensure_starter_model
from webapp.retention import gate
from webapp.retention.models import Release
from webapp.retention.presenters import build_plane
from webapp.teams.models import AuditEvent, Membership, Role, Team, User
from webapp.work import nodes
from workers.bridge.jobs.job_specs import build_job_spec, list_definitions
from workers.bridge.jobs.suites import fetch_suites
from workers.contract.devices import NodeDevices
from workers.contract.events import Drift, Interval, RetentionEvent
from workers.contract.spec import DataFile, DatasetFiles
from workers.engine.evaluation.retention import negate
from workers.starter.suites import SUITES

SignIn = Callable[[User], Client]
NUMBER = st.floats(-1, 1)


def uploaded(team: Team, user: User, name: str = "Letters <b>", rows: int = 40) -> DatasetVersion:
    line = b'{"messages":[{"role":"user","content":"say %d"}],"reference":{"said":%d}}\n'
    data = b"".join(line % (number, number) for number in range(rows))
    upload = receive_file(team, user, name, SimpleUploadedFile("a.jsonl", data), Options())
    return commit_upload(upload, user, Choices())[0]


def filled(client: Client, team: Team, **changes: Any) -> dict[str, Any]:
    """What the untouched form sends, changed."""
    ensure_starter_model()
    form = client.get(reverse("jobs:new", args=[team.slug])).context["form"]
    values = {field.html_name: field.value() for field in form}
    data = {name: value for name, value in values.items() if value is not None and value is not False}
    return {name: getattr(value, "uid", value) for name, value in data.items()} | changes


def told(suite: str, loss: float, **changes: Any) -> RetentionEvent:
    forgetting = Interval(mean=loss, low=loss - 0.05, high=loss + 0.05)
    nats = Interval(mean=0.8, low=0.7, high=0.9)
    values: dict[str, Any] = {
        "suite": suite, "stage": "after", "step": 60, "rows": 30, "samples_per_row": 4,
        "base": Interval(mean=0.7, low=0.6, high=0.8),
        "tuned": Interval(mean=0.7 - loss, low=0.6 - loss, high=0.8 - loss),
        "forgetting": forgetting, "drift": Drift(per_answer=nats, per_token=0.031, tokens=900),
    }  # fmt: skip
    return RetentionEvent(**values | changes)


def own_rows(stage: Literal["during", "after"], step: int, kl: float) -> RetentionEvent:
    drift = Drift(per_answer=Interval(mean=kl, low=kl, high=kl), per_token=kl / 30, tokens=900)
    return told("", 0, stage=stage, step=step, base=None, tuned=None, forgetting=None, drift=drift)


ONE_SUITE = {"suites-TOTAL_FORMS": "1", "suites-INITIAL_FORMS": "0"}


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    """Tuned for invoices; tickets may lose 0.1, orders are watched only."""
    made = finished_job(team, alice)
    compare(made, [row("a", [sample(0.5, "x")], [sample(0.9, "y")])])
    tuned_model(made)
    for position, (name, loss) in enumerate({"Tickets": 0.1, "Orders": None}.items()):
        JobSuite.objects.create(job=made, position=position, name=name, built_in="ticket", max_loss=loss)
    return made


def page(job: Job) -> str:
    return reverse("retention:page", args=[job.team.slug, job.uid])


def release(job: Job) -> str:
    assert job.tuned_model
    return reverse("retention:release", args=[job.team.slug, job.tuned_model.uid])


# --- choosing --------------------------------------------------------------------------------------


def test_suites_are_chosen_at_launch_and_reach_the_engine(
    team: Team, alice: User, as_user: SignIn, tmp_path: Path
) -> None:
    create_sample_project(team, alice)
    letters, client = uploaded(team, alice), as_user(alice)
    data = filled(client, team) | ONE_SUITE
    data |= {
        "suite_built_in__ticket": "on", "suite_built_in_margin": "0.05",
        "suites-0-dataset_version": letters.uid, "suites-0-grader_version": data["grader_version"],
        "dataset_version": team.datasets.get(name__startswith="Sample").versions.get().uid,
    }  # fmt: skip
    client.post(reverse("jobs:new", args=[team.slug]), data)
    job = team.jobs.get()
    chosen = [(s.name, s.built_in, s.dataset_version, s.max_loss) for s in job.suites.all()]
    assert chosen == [("Tickets", "ticket", None, 0.05), ("Letters <b>", "", letters, None)]

    spec = build_job_spec(job, dataset_files(job), {}, None, fetch_suites(job, tmp_path))
    assert [(s.name, s.max_loss) for s in spec.suites] == [("Tickets", 0.05), ("Letters <b>", None)]
    for suite in spec.suites:
        content = (tmp_path / suite.rows.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == suite.rows.sha256
        assert content.count(b"\n") == suite.rows.rows
    assert spec.suites[0].grader == SUITES["ticket"].grader
    assert spec.suites[1].rows.rows == letters.files["validation"]["rows"]
    assert len(list_definitions(job)) == 2  # the built-in suite asks no grader of the team

    assert "Letters &lt;b&gt; v1" in client.get(reverse("jobs:config", args=[team.slug, job.uid])).text
    again = client.get(reverse("jobs:new", args=[team.slug]), {"from": job.uid}).context["form"]
    assert again["suite_built_in__ticket"].value() is True
    assert again.suite_rows[0]["dataset_version"].value() == letters.uid


def dataset_files(job: Job) -> DatasetFiles:
    file = job.dataset_version.files["train"]
    train = DataFile(path="train.jsonl", sha256=file["sha256"], rows=file["rows"])
    return DatasetFiles(sha256=job.dataset_version.sha256, train=train)


def test_a_suite_needs_rows_and_a_grader_and_may_be_one_more(
    team: Team, alice: User, charlie: User, as_user: SignIn
) -> None:
    create_sample_project(team, alice)
    letters, client, url = uploaded(team, alice), as_user(alice), reverse("jobs:new", args=[team.slug])
    data = filled(client, team) | ONE_SUITE
    half = client.post(url, data | {"suites-0-dataset_version": letters.uid})
    assert "Choose what grades this suite." in half.text
    few = uploaded(team, alice, "Few", rows=1)
    grader = data["grader_version"]
    pair = {"suites-0-dataset_version": few.uid, "suites-0-grader_version": grader}
    assert "has no validation rows" in client.post(url, data | pair).text
    more = client.post(url, data | {"add_suite": "1"})
    assert len(more.context["form"].suite_rows) == 2
    theirs = uploaded(charlie.teams.get(), charlie)
    stolen = client.post(url, data | pair | {"suites-0-dataset_version": theirs.uid})
    assert "dataset_version" in stolen.context["form"].suite_rows.errors[0]
    assert not team.jobs.exists()


# --- recording -------------------------------------------------------------------------------------


def test_a_score_is_kept_once_and_only_from_who_holds_the_job(team: Team, alice: User) -> None:
    dataset, grader = create_sample_project(team, alice)
    done = finished_job(team, alice)
    job = launch(
        JobRequest(
            team=team,
            user=alice,
            name="j",
            base_model=done.base_model,
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
            settings={},
        )
    )
    nodes.register_node("here", {}, NodeDevices(cpu_cores=2), {})
    validate_files(job.pk)
    held = claim_job("here")
    assert held
    early, late = (
        told("Tickets", 0.1, stage="during", step=step, judge_cost={"judge": 0.25}) for step in (2, 4)
    )
    assert recording.record_events(held.pk, held.attempt, [early, late])
    assert recording.record_events(held.pk, held.attempt, [late.model_copy(update={"rows": 7})])
    assert not recording.record_events(held.pk, held.attempt - 1, [told("Orders", 0.1)])
    assert [(s.suite, s.step, s.rows) for s in held.suite_scores.all()] == [
        ("Tickets", 2, 30),
        ("Tickets", 4, 7),
    ]
    held.refresh_from_db()
    assert held.judge_cost == {"judge": 0.75}
    assert recording.begin_attempt(held.pk, held.attempt, 2)
    assert [score.step for score in held.suite_scores.all()] == [2]


# --- the gate --------------------------------------------------------------------------------------


@given(st.lists(NUMBER, min_size=3, max_size=3).map(sorted), st.floats(0, 1))
def test_a_suite_passes_if_even_the_lower_bound_of_its_change_is_within_the_margin(
    bounds: list[float], margin: float
) -> None:
    change = Interval(low=bounds[0], mean=bounds[1], high=bounds[2])
    score = SuiteScore(rows=30, forgetting=negate(change).model_dump())
    assert gate.is_within_margin(score, margin) is (change.low >= -margin)


def test_a_suite_with_few_rows_or_ungraded_answers_does_not_pass(job: Job) -> None:
    """Nothing was lost on what was graded, and nothing is shown by it."""
    for changes, reason in (
        ({"rows": 5}, "Tickets has 5 graded rows, but 20 are needed."),
        (
            {"grading_errors": 0.5},
            "Tickets: 50% more of the tuned model's answers than of the base's have no",
        ),
    ):
        record_retention(job, told("Tickets", 0.0, **changes))
        word = gate.check_job(job)
        assert word.state == gate.HELD_BACK
        assert word.reasons[0].startswith(reason)


def test_a_suite_that_was_not_measured_does_not_pass(job: Job) -> None:
    assert gate.is_within_margin(None, 0.5) is False
    assert gate.is_within_margin(None, None) is None
    word = gate.check_job(job)
    assert word.state == gate.HELD_BACK
    assert word.reasons == ["Tickets was not measured after training."]


def test_a_model_without_a_margin_or_a_job_has_nothing_to_pass(job: Job, bob: User, as_user: SignIn) -> None:
    job.suites.update(max_loss=None)
    assert job.tuned_model
    assert gate.check_model(job.tuned_model).state == gate.NONE
    assert "Nothing is gated" in as_user(bob).get(page(job)).text
    shown = as_user(bob).get(job.tuned_model.get_absolute_url()).text
    assert "held back" not in shown
    job.tuned_model.job = None
    assert gate.check_model(job.tuned_model).state == gate.NONE


@pytest.mark.parametrize(("loss", "state"), [(0.04, gate.READY), (0.07, gate.HELD_BACK)])
def test_the_whole_interval_counts_not_the_mean(job: Job, loss: float, state: str) -> None:
    record_retention(job, told("Tickets", loss))
    record_retention(job, told("Orders", 0.6))  # without a margin, it holds nothing back
    assert gate.check_job(job).state == state


def test_an_owner_releases_a_held_back_model_and_the_reason_is_kept(
    job: Job, alice: User, bob: User, as_user: SignIn
) -> None:
    record_retention(job, told("Tickets", 0.2))
    model, owner = job.tuned_model, as_user(alice)
    assert model
    shown = owner.get(model.get_absolute_url()).text
    assert "Tickets may have lost up to 0.250, and 0.1 is allowed." in shown
    assert "Override and approve" in shown
    listed = reverse("catalog:list", args=[job.team.slug])
    assert "held back" in owner.get(listed).text
    Membership.objects.filter(user=bob).update(role=Role.EDITOR)
    assert "Override and approve" not in as_user(bob).get(model.get_absolute_url()).text
    assert as_user(bob).post(release(job), {"reason": "please"}).status_code == 403
    assert "Not released" in owner.post(release(job), {"reason": " "}, follow=True).text
    assert not Release.objects.exists()

    owner.post(release(job), {"reason": "Tickets go <i>elsewhere</i> now"})
    kept = owner.get(model.get_absolute_url()).text
    assert "Tickets go &lt;i&gt;elsewhere&lt;/i&gt; now" in kept
    assert "alice@example.com" in kept
    assert "Override and approve" not in kept
    assert gate.check_job(Job.objects.get(pk=job.pk)).state == gate.RELEASED
    audit = AuditEvent.objects.get(verb__startswith="released model")
    assert (audit.user, audit.target) == (alice, model.name)
    assert "does not hold this model back" in owner.post(release(job), {"reason": "x"}, follow=True).text
    assert Release.objects.count() == 1


# --- the page --------------------------------------------------------------------------------------


def test_the_page_shows_each_suite_before_and_after_and_the_word_of_the_gate(
    job: Job, bob: User, as_user: SignIn
) -> None:
    for event in (told("Tickets", 0.2), told("Orders", -0.1), own_rows("after", 60, 0.42)):
        record_retention(job, event)
    shown = as_user(bob).get(page(job)).text
    for text in ("0.700", "0.500", "−0.200", "[−0.250, −0.150]", "+0.100", "0.031", "0.420", "not passed"):
        assert text in shown
    assert "Held back by the retention gate" in shown
    assert "Tickets may have lost up to 0.250" in shown


def test_every_evaluated_checkpoint_is_a_point_of_the_plane(job: Job, bob: User, as_user: SignIn) -> None:
    Job.objects.filter(pk=job.pk).update(step=20)
    job.step = 20
    compare(job, [row("a", [sample(0.5, "x")], [sample(0.6, "y")])], stage="during", split="validation")
    for stage, step, kl in (("during", 20, 0.1), ("after", 60, 0.4)):
        record_retention(job, told("Tickets", step / 300, stage=stage, step=step))
        record_retention(job, told("Orders", -0.1, stage=stage, step=step))
        record_retention(job, own_rows(stage, step, kl))  # type: ignore[arg-type]
    points = [(p.label, round(p.gain, 3), round(p.kept, 3), p.suite, p.kl) for p in build_plane(job)]
    assert points == [
        ("base", 0.0, 0.0, "", 0.0),
        ("20", 0.1, -0.067, "Tickets", 0.1),
        ("60, final", 0.4, -0.2, "Tickets", 0.4),
    ]
    one = as_user(bob).get(page(job), {"suite": "Orders"})
    assert [point.kept for point in one.context["points"]] == [0.0, 0.1, 0.1]
    assert "step 60, final" in one.text
    assert as_user(bob).get(page(job), {"suite": "nothing"}).context["points"][1].suite == "Tickets"


def test_names_from_the_team_are_escaped_and_an_empty_page_says_what_to_do(
    job: Job, team: Team, alice: User, as_user: SignIn
) -> None:
    letters = uploaded(team, alice)
    JobSuite.objects.create(
        job=job, position=3, name=letters.dataset.name, dataset_version=letters, max_loss=0.1,
        grader_version=job.grader_version,
    )  # fmt: skip
    record_retention(job, told(letters.dataset.name, 0.3))
    shown = as_user(alice).get(page(job)).text
    assert "Letters &lt;b&gt; may have lost up to 0.350" in shown
    assert "<b>" not in shown
    SuiteScore.objects.all().delete()
    job.suites.all().delete()
    assert "This job has no suites" in as_user(alice).get(page(job)).text


def test_the_page_asks_as_often_for_many_suites_as_for_one(job: Job, bob: User, as_user: SignIn) -> None:
    client = as_user(bob)
    rows = {"dataset_version": job.dataset_version, "grader_version": job.grader_version}
    JobSuite.objects.create(job=job, position=8, name="One", **rows)
    record_retention(job, told("Tickets", 0.2))
    with CaptureQueriesContext(connection) as one:
        client.get(page(job))
    for number in range(4):
        JobSuite.objects.create(
            job=job, position=9 + number, name=f"S{number}", max_loss=1, grader_version=job.grader_version,
            dataset_version=job.dataset_version,
        )  # fmt: skip
        record_retention(job, told(f"S{number}", 0.2))
    with CaptureQueriesContext(connection) as many:
        assert "S3" in client.get(page(job)).text
    assert len(many) == len(one)
