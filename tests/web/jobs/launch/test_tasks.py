"""Jobs with several tasks, and jobs that go on from an adapter: form, page, spec, interference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.web.adapters import good
from tests.web.comparison import compare, row, sample
from webapp.core.statistics import bootstrap_mean
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.datasets.versions.sealing import open_test_split
from webapp.experiments.interference import (
    build_matrix,
    launch_interference,
    list_subsets,
    match_settings,
)
from webapp.graders.models import Grader, GraderVersion
from webapp.home.sample_project import create_sample_project
from webapp.jobs import recording
from webapp.jobs.launch.request import JobRequest, TaskChoice
from webapp.jobs.launch.service import launch, validate_files
from webapp.jobs.listing.removal import delete_job, restore_job
from webapp.jobs.models import Evaluation, Job
from webapp.jobs.queue import claim_job
from webapp.jobs.states import State
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.services import ensure_starter_model
from webapp.registry.uploads import upload_adapter
from webapp.teams.models import Team, User
from webapp.work import nodes
from workers.bridge.jobs import task_files as bridge
from workers.bridge.jobs.job_specs import build_job_spec, list_definitions
from workers.contract.devices import NodeDevices
from workers.contract.events import EvaluationEvent, Interval, MetricsEvent, SideSummary
from workers.contract.spec import JobSettings, JobSpec

SignIn = Callable[[User], Client]
SHORT = {
    "type": "string_check",
    "name": "short",
    "input": "{{sample.output_text}}",
    "reference": "{{item.label}}",
    "operation": "eq",
}


@pytest.fixture
def first(team: Team, alice: User) -> TaskChoice:
    dataset, grader = create_sample_project(team, alice)
    return TaskChoice("invoices", dataset.versions.get(), grader.versions.get(), 3)


@pytest.fixture
def second(team: Team, alice: User) -> TaskChoice:
    lines = b"".join(
        b'{"messages":[{"role":"user","content":"capital %d"}],"label":"Paris"}\n' % number
        for number in range(40)
    )
    version, _ = commit_upload(
        receive_file(team, alice, "Capitals", SimpleUploadedFile("a.jsonl", lines), Options()),
        alice,
        Choices(),
    )
    grader = Grader.objects.create(team=team, name="Short")
    made = GraderVersion.objects.create(grader=grader, number=1, definition=SHORT, sha256="5" * 64)
    return TaskChoice("capitals", version, made, 1)


@pytest.fixture
def base(db: None) -> BaseModel:
    return ensure_starter_model()


@pytest.fixture
def uploaded(team: Team, alice: User, base: BaseModel) -> TunedModel:
    archive = SimpleUploadedFile("a.zip", good())
    return upload_adapter(team, alice, name="Ours", base_model=base, archive=archive)


@pytest.fixture
def job(team: Team, alice: User, base: BaseModel, first: TaskChoice, second: TaskChoice) -> Job:
    settings = {"grpo": {"max_steps": 12, "prompts_per_step": 8}}
    return launch(
        JobRequest(
            team=team, user=alice, name="Both", base_model=base, tasks=[first, second], settings=settings
        )
    )


def claimed(job: Job) -> Job:
    nodes.register_node("here", {}, NodeDevices(cpu_cores=2), {})
    validate_files(job.pk)
    found = claim_job("here")
    assert found is not None
    return found


def form(client: Client, team: Team, **given: Any) -> dict[str, Any]:
    """What the form's fields hold, changed by ``given``."""
    page = client.get(reverse("jobs:new", args=[team.slug]))
    shown = page.context["form"]
    values = {field.html_name: field.value() for field in shown}
    sent = {name: value for name, value in values.items() if value is not None and value is not False}
    return sent | given


def rows(count: int) -> dict[str, str]:
    """The form's count of task rows."""
    return {"tasks-TOTAL_FORMS": str(count), "tasks-INITIAL_FORMS": "0"}


# --- form ----------------------------------------------------------------------------------------


def test_a_task_is_added_without_scripts_and_keeps_what_was_typed(
    team: Team, alice: User, as_user: SignIn, first: TaskChoice, second: TaskChoice, base: BaseModel
) -> None:
    client, url = as_user(alice), reverse("jobs:new", args=[team.slug])
    sent = form(client, team, name="Typed", add_task="1") | rows(1)
    page = client.post(url, sent)
    assert page.status_code == 200
    assert 'value="Typed"' in page.text
    assert "Task 2" in page.text
    assert "tasks-1-dataset_version" in page.text
    assert not Job.objects.exists()


def test_a_job_is_launched_with_its_tasks(
    team: Team, alice: User, as_user: SignIn, first: TaskChoice, second: TaskChoice, base: BaseModel
) -> None:
    client = as_user(alice)
    sent = form(
        client, team, dataset_version=first.dataset_version.uid, grader_version=first.grader_version.uid,
    ) | rows(3) | {
        "tasks-0-name": "invoices", "tasks-0-weight": "3", "tasks-1-weight": "1",
        "tasks-1-dataset_version": second.dataset_version.uid,
        "tasks-1-grader_version": second.grader_version.uid,
    }  # fmt: skip
    client.post(reverse("jobs:new", args=[team.slug]), sent)
    job = Job.objects.get()
    assert [(t.position, t.name, t.weight) for t in job.tasks.all()] == [
        (0, "invoices", 3),
        (1, "capitals", 1),
    ]
    assert job.dataset_version == first.dataset_version
    assert job.tasks.get(position=1).grader_version == second.grader_version


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tasks-1-grader_version": ""}, "Choose what grades this task."),
        ({"tasks-1-dataset_version": ""}, "Choose the data of this task."),
        ({"tasks-0-name": "same", "tasks-1-name": "Same"}, "Another task has this name"),
        ({"tasks-1-name": "a/b"}, "1 to 30 letters"),
        ({"tasks-1-weight": "0"}, "Above 0"),
    ],
)
def test_a_task_that_is_not_right_says_so_beside_its_field(
    team: Team, alice: User, as_user: SignIn, first: TaskChoice, second: TaskChoice, base: BaseModel,
    given: dict[str, str], said: str,
) -> None:  # fmt: skip
    client = as_user(alice)
    whole = {
        "tasks-1-dataset_version": second.dataset_version.uid,
        "tasks-1-grader_version": second.grader_version.uid,
    }
    sent = form(client, team) | rows(2) | whole | given
    answer = client.post(reverse("jobs:new", args=[team.slug]), sent)
    assert answer.status_code == 422
    assert said in answer.text
    assert not Job.objects.exists()


def test_the_data_of_another_team_is_no_choice(
    team: Team, alice: User, charlie: User, as_user: SignIn, first: TaskChoice, base: BaseModel
) -> None:
    other = charlie.teams.get()
    foreign, grader = create_sample_project(other, charlie)
    client = as_user(alice)
    sent = (
        form(client, team)
        | rows(2)
        | {
            "tasks-1-dataset_version": foreign.versions.get().uid,
            "tasks-1-grader_version": grader.versions.get().uid,
        }
    )
    assert client.post(reverse("jobs:new", args=[team.slug]), sent).status_code == 422
    assert not Job.objects.exists()


def test_a_clone_starts_with_the_tasks_and_the_start_of_its_source(
    team: Team, alice: User, as_user: SignIn, job: Job, uploaded: TunedModel
) -> None:
    Job.objects.update(initial_adapter=uploaded)
    page = as_user(alice).get(reverse("jobs:new", args=[team.slug]), {"from": job.uid})
    shown = page.context["form"]
    assert len(shown.task_rows) == 2
    assert shown.task_rows[1]["name"].value() == "capitals"
    assert shown.task_rows[0]["weight"].value() == 3
    assert shown.values["initial_adapter"] == uploaded


# --- start ---------------------------------------------------------------------------------------


def test_a_job_that_continues_an_adapter_takes_its_shape(
    team: Team, alice: User, as_user: SignIn, first: TaskChoice, base: BaseModel, uploaded: TunedModel
) -> None:
    client = as_user(alice)
    sent = form(client, team, initial_adapter=uploaded.uid, lora__rank="64")
    client.post(reverse("jobs:new", args=[team.slug]), sent)
    job = Job.objects.get()
    assert job.initial_adapter == uploaded
    assert (job.settings.lora.rank, job.settings.lora.alpha) == (4, 8)
    assert job.settings.lora.targets == r"(.*\.)?(q_proj|v_proj)"
    page = client.get(job.get_absolute_url()).text
    assert uploaded.get_absolute_url() in page
    compare(job, [row("a", [sample(0.1, "b")], [sample(0.2, "t")])])
    assert "Initial, held-out rows" in client.get(job.get_absolute_url()).text


def test_an_adapter_of_another_base_is_refused(
    team: Team, alice: User, as_user: SignIn, first: TaskChoice, base: BaseModel, uploaded: TunedModel
) -> None:
    other = BaseModel.objects.create(team=team, model_id="some/other")
    client = as_user(alice)
    sent = form(client, team, initial_adapter=uploaded.uid, base_model=other.uid)
    answer = client.post(reverse("jobs:new", args=[team.slug]), sent)
    assert answer.status_code == 422
    assert "This adapter belongs to groove/starter" in answer.text


def test_an_adapter_of_another_team_is_no_start(
    team: Team, charlie: User, as_user: SignIn, uploaded: TunedModel, base: BaseModel
) -> None:
    other = charlie.teams.get()
    create_sample_project(other, charlie)
    client = as_user(charlie)
    sent = form(client, other, initial_adapter=uploaded.uid)
    assert client.post(reverse("jobs:new", args=[other.slug]), sent).status_code == 422
    assert "Ours" not in client.get(reverse("jobs:new", args=[other.slug])).text


# --- what the engine gets ------------------------------------------------------------------------


def test_the_engine_gets_the_tasks_rows_joined_with_their_graders(job: Job, tmp_path: Path) -> None:
    splits = bridge.fetch_splits(job, tmp_path)
    spec = JobSpec.model_validate_json(build_job_spec(job, splits, {}).model_dump_json())
    assert {name: task.weight for name, task in spec.tasks.items()} == {"invoices": 3, "capitals": 1}
    versions = {task.name: task.dataset_version for task in job.tasks.all()}
    for split in ("train", "validation", "test"):
        file = getattr(spec.dataset, split)
        content = (tmp_path / file.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
        rows = [json.loads(line) for line in content.splitlines()]
        for name, version in versions.items():
            own = [each for each in rows if each["task"] == name]
            assert len(own) == version.files[split]["rows"]
            assert all(each["row_id"].startswith(f"{name}/") for each in own)
    assert len({json.dumps(definition, sort_keys=True) for definition in list_definitions(job)}) == 2


def test_the_engine_gets_the_adapter_that_it_starts_from_by_hash(
    team: Team, alice: User, first: TaskChoice, base: BaseModel, uploaded: TunedModel, tmp_path: Path
) -> None:
    one = TaskChoice("", first.dataset_version, first.grader_version)
    request = JobRequest(
        team=team, user=alice, name="On", base_model=base, tasks=[one], settings={}, initial_adapter=uploaded
    )
    job = launch(request)
    start = bridge.fetch_initial_adapter(job, tmp_path)
    spec = build_job_spec(job, bridge.fetch_splits(job, tmp_path), {}, start)
    assert spec.initial_adapter is not None
    weights = (tmp_path / spec.initial_adapter.path / "adapter_model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == spec.initial_adapter.sha256
    assert spec.lora.rank == 4
    uploaded.files[1]["sha256"] = "0" * 64
    uploaded.save()
    job.refresh_from_db()
    with pytest.raises(bridge.AdapterDamaged, match="Ours"):
        bridge.fetch_initial_adapter(job, tmp_path / "again")


def test_a_task_whose_files_are_gone_fails_the_job_with_the_reason(job: Job, second: TaskChoice) -> None:
    files = second.dataset_version.files
    DatasetVersion.objects.filter(pk=second.dataset_version.pk).update(
        files=files | {"train": files["train"] | {"key": "nowhere"}}
    )
    validate_files(job.pk)
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert "Capitals v1" in job.error.message


# --- page ----------------------------------------------------------------------------------------


def evaluation(task: str, mean: float) -> EvaluationEvent:
    interval = Interval(mean=mean, low=mean - 0.1, high=mean + 0.1)
    side = SideSummary(
        reward=interval, pass_at_1=interval, pass_at_k={}, mean_length=1, truncated_share=0,
        grading_error_share=0,
    )  # fmt: skip
    return EvaluationEvent(
        task=task, stage="after", split="test", step=12, rows=5, samples_per_row=2, base=side, tuned=side,
        difference=Interval(mean=0, low=-0.1, high=0.1), wins=1, ties=3, losses=1,
    )  # fmt: skip


def test_the_page_shows_every_task_with_its_own_evaluation(job: Job, bob: User, as_user: SignIn) -> None:
    running = claimed(job)
    told = [evaluation("", 0.5), evaluation("invoices", 0.25), evaluation("capitals", 0.75)]
    values = {"reward": 0.5, "tasks/invoices/reward": 0.25, "tasks/capitals/reward": 0.75}
    report = [MetricsEvent(step=1, total_steps=12, values=values), *told, *told]
    assert recording.record_events(running.pk, running.attempt, report)
    assert Evaluation.objects.filter(job=job).count() == 3
    client = as_user(bob)
    page = client.get(job.get_absolute_url()).text
    for seen in ("invoices", "capitals", "0.250", "0.750", "about 6 prompts a step", "Reward by task"):
        assert seen in page
    assert page.count("Difference, paired") == 1
    assert (
        list(running.events.filter(kind="evaluation").values_list("data__stage", flat=True)) == ["after"] * 2
    )
    with CaptureQueriesContext(connection) as asked:
        client.get(job.get_absolute_url())
    assert len(asked) <= 18


# --- interference --------------------------------------------------------------------------------


def finished(job: Job, rewards: dict[str, float]) -> Job:
    """The job has succeeded, with these rewards of the tuned model by row."""
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    compare(job, [row(name, [sample(0.1, "b")], [sample(reward, "t")]) for name, reward in rewards.items()])
    return Job.objects.get(pk=job.pk)


def rewards_of(task: str, mean: float, count: int = 20) -> dict[str, float]:
    return {f"{task}/{number}": mean + (number % 3 - 1) / 50 for number in range(count)}


def test_each_task_alone_draws_what_it_drew_together(job: Job, alice: User) -> None:
    job = finished(job, rewards_of("invoices", 0.5))
    parts = launch_interference(job, alice)
    shape = {part.tasks.get().name: (part.settings.grpo.prompts_per_step, part.total_steps) for part in parts}
    assert shape == {"invoices": (6, 12), "capitals": (2, 12)}
    assert all(part.interference_of == job for part in parts)
    assert launch_interference(job, alice) == []
    Job.objects.filter(pk=parts[0].pk).update(state=State.FAILED)
    assert [part.tasks.get().name for part in launch_interference(job, alice)] == ["invoices"]


def test_a_deleted_part_leaves_the_matrix_until_it_is_restored_or_measured_again(
    job: Job, alice: User
) -> None:
    together = finished(job, rewards_of("invoices", 0.5))
    parts = {part.tasks.get().name: part for part in launch_interference(together, alice)}
    alone = finished(parts["invoices"], rewards_of("invoices", 0.7))
    assert build_matrix(together).alone[0] == pytest.approx(0.7, abs=0.01)
    delete_job(alone, alice)
    assert build_matrix(together).alone[0] is None
    restore_job(alone, alice)
    assert build_matrix(together).alone[0] == pytest.approx(0.7, abs=0.01)
    delete_job(alone, alice)
    assert [part.tasks.get().name for part in launch_interference(together, alice)] == ["invoices"]


@given(st.integers(1, 64), st.integers(1, 500), st.floats(0.02, 0.98))
def test_matched_jobs_draw_as_many_prompts_within_half_a_step(prompts: int, steps: int, share: float) -> None:
    settings = JobSettings.model_validate(
        {"grpo": {"prompts_per_step": prompts}, "evaluation": {"every": 20}}
    )
    grpo = match_settings(settings, steps, share).grpo
    assert grpo.max_steps
    sampled, wanted = grpo.prompts_per_step * grpo.max_steps, prompts * share * steps
    assert abs(sampled - wanted) <= max(grpo.prompts_per_step / 2, 1) + 1e-9


def test_the_matrix_shows_who_loses_by_sharing(job: Job, alice: User, bob: User, as_user: SignIn) -> None:
    together = finished(job, rewards_of("invoices", 0.5) | rewards_of("capitals", 0.6))
    alone = {part.tasks.get().name: part for part in launch_interference(together, alice)}
    finished(alone["invoices"], rewards_of("invoices", 0.7))
    finished(alone["capitals"], rewards_of("capitals", 0.6))
    shown = build_matrix(together)
    (line,) = shown.rows
    cells = {cell.task: cell for cell in line.cells if cell}
    assert cells["invoices"].mean == pytest.approx(-0.2)
    assert cells["invoices"].harmed
    assert not cells["capitals"].harmed
    assert not cells["capitals"].helped
    assert shown.worst == cells["invoices"]
    assert shown.alone == [pytest.approx(0.7, abs=0.01), pytest.approx(0.6, abs=0.01)]
    page = as_user(bob).get(reverse("experiments:interference", args=[job.team.slug, job.uid])).text
    assert "invoices loses most by sharing" in page
    assert "worst task" in page
    assert "\N{MINUS SIGN}0.200" in page


def test_the_matrix_says_that_a_test_split_was_opened(
    job: Job, first: TaskChoice, alice: User, as_user: SignIn
) -> None:
    """The jobs that train the other task alone have other test rows."""
    together = finished(job, rewards_of("invoices", 0.5))
    launch_interference(together, alice)
    open_test_split(first.dataset_version, alice)
    page = as_user(alice).get(reverse("experiments:interference", args=[job.team.slug, job.uid])).text
    assert "Test split opened while 2 of these jobs ran" in page


def test_three_tasks_can_be_measured_in_pairs() -> None:
    assert [set(names) for names in list_subsets(["a", "b", "c"], pairs=True)] == [
        {"a"}, {"b"}, {"c"}, {"a", "b"}, {"a", "c"}, {"b", "c"},
    ]  # fmt: skip
    assert list_subsets(["a", "b"], pairs=True) == list_subsets(["a", "b"], pairs=False)


@given(st.lists(st.floats(-1, 1), min_size=20, max_size=32))
def test_an_interval_holds_its_mean_and_mirrors_with_its_sign(values: list[float]) -> None:
    mean, low, high = bootstrap_mean(tuple(values))
    assert low is not None
    assert high is not None
    bounds = [min(values), low, mean, high, max(values)]
    assert all(left <= right + 1e-9 for left, right in pairwise(bounds)), bounds
    mirrored = bootstrap_mean(tuple(-value for value in values))
    assert mirrored == pytest.approx((-mean, -high, -low), abs=1e-9)


def test_only_editors_launch_and_only_after_success(
    job: Job, alice: User, bob: User, charlie: User, as_user: SignIn
) -> None:
    url = reverse("experiments:interference", args=[job.team.slug, job.uid])
    assert "Not yet" in as_user(alice).get(url).text
    as_user(alice).post(url)
    assert not job.interference_runs.exists()
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    assert as_user(bob).post(url).status_code == 403
    assert as_user(charlie).post(url).status_code == 404
    assert not job.interference_runs.exists()
    as_user(alice).post(url)
    assert job.interference_runs.count() == 2
