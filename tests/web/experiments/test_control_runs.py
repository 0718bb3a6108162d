"""Control runs: SFT and placebo of a finished job, and the page that compares them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.web.comparison import compare, finished_job, row, sample
from webapp.experiments.control_run_results import build_results, measure_difference
from webapp.experiments.control_runs import find_template_problem, launch_control_run, select_accepted
from webapp.jobs import services
from webapp.jobs.errors import SettingsInvalid, WrongState
from webapp.jobs.evaluations import record_retention
from webapp.jobs.launch.steps import count_steps
from webapp.jobs.models import Job, JobSuite, Metric, Rollout
from webapp.jobs.models.job import SftSource
from webapp.jobs.states import State
from webapp.teams.models import AuditEvent, Team, User
from workers.bridge.jobs import task_files as bridge
from workers.bridge.jobs.demonstrations import NoDemonstration, fetch_demonstrations
from workers.bridge.jobs.job_specs import build_job_spec
from workers.contract.events import Drift, Interval, RetentionEvent
from workers.contract.methods import METHODS, Method
from workers.contract.spec import JobSpec

SignIn = Callable[[User], Client]
CONTROLS = [method for method in METHODS.values() if method.control_run]
ROWS = 20
REWARDS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), max_size=8)


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    """A succeeded job with a suite, better than its base on every held-out row."""
    made = finished_job(team, alice)
    JobSuite.objects.create(job=made, position=0, name="Tickets", built_in="ticket", max_loss=0.1)
    answered(made, 0.9)
    return made


def answered(job: Job, reward: float, forgotten: float = 0.01) -> None:
    """Finish the job with about this reward of the tuned model on each held-out row."""
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED, train_seconds=65)
    rewards = [reward + 0.05 * (number % 2) for number in range(ROWS)]
    pairs = [([sample(0.4, "x")], [sample(each, "<i>y</i>")]) for each in rewards]
    compare(job, [row(f"row-{number}", *pair) for number, pair in enumerate(pairs)])
    lost = Interval(mean=forgotten, low=forgotten - 0.005, high=forgotten + 0.005)
    drift = Drift(per_answer=Interval(mean=0.5, low=0.4, high=0.6), per_token=0.02, tokens=900)
    for suite, forgetting in (("Tickets", lost), ("", None)):
        event = RetentionEvent(
            suite=suite, stage="after", step=60, rows=30, samples_per_row=4, forgetting=forgetting,
            drift=drift,
        )  # fmt: skip
        record_retention(job, event)


def train_rows(job: Job, folder: Path) -> list[dict[str, Any]]:
    splits = bridge.fetch_splits(job, folder)
    return [json.loads(line) for line in (folder / splits.train.path).read_text().splitlines()]


def rolled(job: Job, row_id: str, step: int, index: int, reward: float, **changes: Any) -> None:
    values = {"completion": f"answer of step {step}", "truncated": False} | changes
    Rollout.objects.create(
        job=job, step=step, index=index, group=0, row_id=row_id, prompt="p", reward=reward, advantage=0.0,
        length=3, adapter_step=step - 1, **values,
    )  # fmt: skip


def from_template(template: str) -> SftSource:
    return SftSource(source="template", template=template)


def page(job: Job) -> str:
    return reverse("experiments:control_runs", args=[job.team.slug, job.uid])


# --- launching -----------------------------------------------------------------------------------


def test_a_placebo_differs_from_its_job_only_in_method_and_preflight(
    job: Job, alice: User, as_user: SignIn, tmp_path: Path
) -> None:
    client = as_user(alice)
    assert "Run placebo" in client.get(page(job)).text
    client.post(page(job), {"method": "placebo"})
    placebo = job.control_runs.get()
    steps = count_steps(job.settings.grpo, job.dataset_version)
    assert (placebo.method, placebo.total_steps, placebo.state) == ("placebo", steps, State.VALIDATING_FILES)
    kept = ["base_model_id", "dataset_version_id", "grader_version_id", "initial_adapter_id"]
    assert all(getattr(placebo, name) == getattr(job, name) for name in kept)
    before, after = job.settings.model_dump(), placebo.settings.model_dump()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"preflight"}
    assert [(s.name, s.built_in, s.max_loss) for s in placebo.suites.all()] == [("Tickets", "ticket", 0.1)]
    assert AuditEvent.objects.filter(verb="launched Placebo control run").exists()
    spec = build_job_spec(placebo, bridge.fetch_splits(placebo, tmp_path), {})
    assert (spec.method, spec.sft, spec.preflight.rows) == ("placebo", None, 0)
    with pytest.raises(WrongState, match="exists already"):
        launch_control_run(job, alice, "placebo")
    services.request_cancel(placebo, alice)
    assert launch_control_run(job, alice, "placebo").pk != placebo.pk


def test_the_best_accepted_rollout_of_each_row_becomes_a_demonstration(
    job: Job, alice: User, tmp_path: Path
) -> None:
    with pytest.raises(SettingsInvalid, match="no demonstrations"):
        launch_control_run(job, alice, "sft")
    first, second, third, fourth = (each["row_id"] for each in train_rows(job, tmp_path)[:4])
    rolled(job, second, 1, 0, 1.0)
    rolled(job, second, 2, 0, 1.0)
    rolled(job, first, 3, 0, 0.5)  # not accepted
    rolled(job, first, 4, 0, 1.0, completion="Grüße")
    rolled(job, third, 1, 1, 0.9)
    rolled(job, fourth, 1, 2, 1.0, truncated=True)
    assert dict(select_accepted(job).values_list("row_id", "step")) == {second: 1, first: 4}
    run = launch_control_run(job, alice, "sft", SftSource(epochs=2, batch_size=1))
    assert run.total_steps == 4
    splits = bridge.fetch_splits(run, tmp_path)
    sft = fetch_demonstrations(run, tmp_path, splits)
    assert sft == fetch_demonstrations(run, tmp_path, splits)
    spec = JobSpec.model_validate_json(build_job_spec(run, splits, {}, None, (), sft).model_dump_json())
    assert spec.sft is not None
    assert (spec.method, spec.sft.rows.rows, spec.sft.epochs, spec.sft.batch_size) == ("sft", 2, 2, 1)
    content = (tmp_path / spec.sft.rows.path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == spec.sft.rows.sha256
    shown = [json.loads(line) for line in content.splitlines()]
    assert [(each["row_id"], each["completion"]) for each in shown] == [
        (first, "Grüße"), (second, "answer of step 1"),
    ]  # fmt: skip
    assert shown[0]["messages"] == train_rows(job, tmp_path)[0]["messages"]


def test_a_template_makes_a_demonstration_of_every_row(job: Job, alice: User, tmp_path: Path) -> None:
    rows = train_rows(job, tmp_path)
    field = next(iter(rows[0]["item"]))
    run = launch_control_run(job, alice, "sft", from_template("It is {{item." + field + "}}."))
    splits = bridge.fetch_splits(run, tmp_path)
    sft = fetch_demonstrations(run, tmp_path, splits)
    assert sft is not None
    assert sft.rows.rows == len(rows)
    line = json.loads((tmp_path / sft.rows.path).read_text().splitlines()[0])
    assert line["completion"].startswith("It is ")
    other = launch_control_run(job, alice, "sft", from_template("{{item.nowhere}}"))
    with pytest.raises(NoDemonstration, match="nowhere"):
        fetch_demonstrations(other, tmp_path, splits)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{{item.a", "}}"), ("always the same", "no field"), ("{{sample.output_text}}", "item, not sample")],
)
def test_an_unusable_template_is_refused(text: str, said: str) -> None:
    assert said in find_template_problem(text)
    assert not find_template_problem("{{item.answer}}")


def test_the_form_keeps_its_values_and_explains_the_error(job: Job, alice: User, as_user: SignIn) -> None:
    sent = {"method": "sft", "source": "template", "template": "<b>same</b>", "epochs": 3, "batch_size": 4}
    answer = as_user(alice).post(page(job), sent | {"learning_rate": "0.0003"})
    assert answer.status_code == 422
    assert "uses no field" in answer.text
    assert "&lt;b&gt;same&lt;/b&gt;" in answer.text
    assert not job.control_runs.exists()


def test_control_runs_need_a_succeeded_rft_job(job: Job, alice: User) -> None:
    placebo = launch_control_run(job, alice, "placebo")
    with pytest.raises(WrongState, match="cannot have control runs"):
        launch_control_run(placebo, alice, "placebo")
    job.state = State.RUNNING
    with pytest.raises(WrongState, match="once the job has succeeded"):
        launch_control_run(job, alice, "sft")


def test_a_viewer_sees_the_page_without_buttons(job: Job, bob: User, as_user: SignIn) -> None:
    client = as_user(bob)
    text = client.get(page(job)).text
    assert "Would SFT have been enough?" in text
    assert "Run placebo" not in text
    assert client.post(page(job), {"method": "placebo"}).status_code == 403
    assert not job.control_runs.exists()


@pytest.mark.parametrize("method", CONTROLS, ids=lambda method: method.id)
def test_every_control_run_is_offered_launched_and_compared(
    job: Job, alice: User, as_user: SignIn, method: Method
) -> None:
    assert method.control_run is not None
    client = as_user(alice)
    text = client.get(page(job)).text
    assert method.control_run.question in text
    assert f"Run {method.label_in_text}</button>" in text
    sent = {
        "source": "template",
        "template": "{{item.x}}",
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 1e-4,
    }
    client.post(page(job), {"method": method.id} | sent)
    run = job.control_runs.get()
    assert run.training_method == method
    assert method.control_run.summary in client.get(run.get_absolute_url()).text
    answered(run, 0.4)
    text = client.get(page(job)).text
    assert text.count("Not run yet") == len(CONTROLS) - 1
    assert f"{method.label} run" in text
    assert "by 0.500" in text


def test_a_method_without_control_runs_is_not_launched(job: Job, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    assert [client.post(page(job), {"method": each}).status_code for each in ("rft", "x")] == [404, 404]
    assert not job.control_runs.exists()


# --- the page ------------------------------------------------------------------------------------


def test_the_page_answers_both_questions(job: Job, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    assert client.get(page(job)).text.count("Not run yet") == len(CONTROLS)
    field = "{{item.x}}"
    sft, placebo = (
        launch_control_run(job, alice, "sft", from_template(field)),
        launch_control_run(job, alice, "placebo"),
    )
    assert "not known yet" in client.get(page(job)).text
    answered(sft, 0.7, forgotten=0.2)
    answered(placebo, 0.4)
    text = client.get(page(job)).text
    assert "No: SFT on a template falls short of RFT by 0.200" in text
    assert "Tickets: RFT −0.010 [−0.015, −0.005], SFT −0.200" in text
    assert "RFT is better than its placebo by 0.500" in text
    assert "1 min 5 s" in text
    assert "Change on Tickets" in text, "a loss has the sign of a change, as everywhere"
    assert "−0.010" in text[text.index("All runs") :]
    found = build_results(job)
    assert found is not None
    assert [run.rft_minus_run and round(run.rft_minus_run.mean, 6) for run in found.runs] == [None, 0.2, 0.5]
    assert [placed.bar.name for placed in found.bars] == ["Base", "RFT", "SFT on a template", "Placebo"]
    assert "is a control run of" in client.get(page(sft)).text


@pytest.mark.parametrize(
    ("reward", "said"), [(0.95, "Yes: SFT on a template is better"), (0.9, "do not tell SFT on a template")]
)
def test_sft_that_is_as_good_as_rft_is_reported_so(
    job: Job, alice: User, as_user: SignIn, reward: float, said: str
) -> None:
    run = launch_control_run(job, alice, "sft", from_template("{{item.x}}"))
    answered(run, reward)
    assert said in as_user(alice).get(page(job)).text


def test_a_placebo_that_is_as_good_as_rft_gives_a_warning(job: Job, alice: User, as_user: SignIn) -> None:
    answered(launch_control_run(job, alice, "placebo"), 0.9)
    text = as_user(alice).get(page(job)).text
    assert "RFT is not shown to be better than its placebo" in text


def test_pages_of_a_run_without_rewards_open(job: Job, alice: User, as_user: SignIn) -> None:
    run, client = (
        launch_control_run(job, alice, "sft", from_template("{{item.x}}")),
        as_user(alice),
    )
    Metric.objects.create(job=run, step=1, values={"loss": 2.5, "mean_token_accuracy": 0.3, "step_time": 1.0})
    for name in ("detail", "config", "rollouts", "preflight"):
        assert client.get(reverse(f"jobs:{name}", args=[job.team.slug, run.uid])).status_code == 200
    text = client.get(reverse("jobs:detail", args=[job.team.slug, run.uid])).text
    assert "Trained on demonstrations" in text
    assert run.name in client.get(reverse("jobs:list", args=[job.team.slug])).text


@given(REWARDS, REWARDS)
def test_differences_are_paired_by_row(rft: dict[str, float], other: dict[str, float]) -> None:
    found, shared = measure_difference(rft, other), rft.keys() & other.keys()
    if not shared:
        assert found is None
        return
    assert found is not None
    assert found.rows == len(shared)
    assert found.mean == pytest.approx(sum(rft[row] - other[row] for row in shared) / len(shared), abs=1e-9)
    assert (found.low, found.high) == (None, None), "too few rows for an interval"
