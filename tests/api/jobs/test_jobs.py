"""Fine-tuning jobs by API: what is asked is launched, what is wrong is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Call
from tests.api.jobs.bodies import SAME, build_body, make_file
from tests.web.comparison import finished_job, tuned_model
from webapp.datasets.files.models import ApiFile
from webapp.graders.models import GraderVersion
from webapp.jobs.launch.service import validate_files
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

HYPER = "method.reinforcement.hyperparameters"
HYPERPARAMETERS = {
    "batch_size": 4, "n_epochs": 2, "learning_rate_multiplier": 0.5, "compute_multiplier": 2,
    "eval_interval": 3, "eval_samples": 2, "reasoning_effort": "low",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _starter(db: None) -> None:
    ensure_starter_model()


@pytest.fixture
def training(team: Team, alice: User) -> ApiFile:
    return make_file(team, alice, range(20))


@pytest.fixture
def validation(team: Team, alice: User) -> ApiFile:
    return make_file(team, alice, range(20, 26))


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    """A finished job that was launched on a page."""
    return finished_job(team, alice)


def create(call: Call, training: ApiFile, validation: ApiFile | None = None, **changes: Any) -> Any:
    response = call("POST", "/fine_tuning/jobs", build_body(training, validation, **changes))
    assert response.status_code == 200, response.content
    return response.json()


def refused(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    response = call("POST", "/fine_tuning/jobs", body)
    assert response.status_code == 400, response.content
    error: dict[str, Any] = response.json()["error"]
    return error


# --- creation ---------------------------------------------------------------------------------------


def test_hyperparameters_set_the_job_and_are_shown_again(
    call: Call, training: ApiFile, validation: ApiFile
) -> None:
    made = create(call, training, validation, hyperparameters=HYPERPARAMETERS, seed=42, suffix="demo",
                  metadata={"team": "a"})  # fmt: skip
    settings = Job.objects.get(uid=made["id"]).settings
    recommended = settings.__class__().grpo
    assert recommended.group_size == 8
    assert (settings.grpo.prompts_per_step, settings.grpo.epochs, settings.grpo.max_steps) == (4, 2, None)
    assert (settings.grpo.learning_rate, settings.grpo.group_size) == (5e-4, 16)
    assert (settings.evaluation.every, settings.evaluation.validation_samples_per_row) == (3, 2)
    assert settings.evaluation.validation_max_rows == 6
    assert settings.chat.template_arguments == {"reasoning_effort": "low"}
    assert made["method"]["reinforcement"]["hyperparameters"] == HYPERPARAMETERS
    assert made["method"]["reinforcement"]["grader"] == SAME
    assert (made["status"], made["seed"], made["metadata"]) == ("validating_files", 42, {"team": "a"})
    assert (made["training_file"], made["validation_file"]) == (training.uid, validation.uid)
    assert (made["error"], made["hyperparameters"], made["result_files"]) == (None, None, [])
    assert made["organization_id"] == "org-acme"


def test_without_hyperparameters_the_base_models_settings_are_taken(call: Call, training: ApiFile) -> None:
    made = create(call, training)
    job = Job.objects.get(uid=made["id"])
    assert job.settings.grpo.learning_rate == 1e-3
    assert job.settings.preflight.on_no_go == "go_on"
    assert set(made["method"]["reinforcement"]["hyperparameters"].values()) == {"auto", "default"}
    assert made["seed"] == job.settings.seed > 0


def test_the_models_name_has_the_suffix_or_none(call: Call, training: ApiFile) -> None:
    named = Job.objects.get(uid=create(call, training, suffix="My Model")["id"])
    unnamed = Job.objects.get(uid=create(call, training)["id"])
    assert named.model_name.startswith("ft:groove/starter:acme:my-model:")
    assert unnamed.model_name.startswith("ft:groove/starter:acme::")


def test_the_same_grader_is_not_copied(call: Call, team: Team, training: ApiFile) -> None:
    versions = [
        Job.objects.get(uid=create(call, training, grader=grader)["id"]).grader_version
        for grader in (SAME, SAME | {"pass_threshold": 1}, SAME | {"operation": "ilike"})
    ]
    assert versions[0] == versions[1]
    assert GraderVersion.objects.filter(grader__team=team).count() == 2
    assert {version.grader.name for version in versions} == {"same"}


def test_a_tuned_model_is_trained_further(call: Call, job: Job, training: ApiFile) -> None:
    model = tuned_model(job)
    model.shape = {"rank": 8, "alpha": 16, "targets": "all-linear"}
    model.uploaded = True
    model.save()
    made = create(call, training, model=model.name)
    launched = Job.objects.get(uid=made["id"])
    assert (launched.initial_adapter, launched.settings.lora.rank) == (model, 8)
    assert made["model"] == model.name


def test_settings_beyond_the_vendors_are_taken_by_our_extension(call: Call, training: ApiFile) -> None:
    made = create(call, training, settings={"lora": {"rank": 4}, "grpo": {"max_steps": 7}})
    job = Job.objects.get(uid=made["id"])
    assert (job.settings.lora.rank, job.total_steps) == (4, 7)


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"model": "gpt-4"}, "model", "model_not_available"),
        ({"training_file": "file-unknown"}, "training_file", "invalid_value"),
        ({"validation_file": "file-unknown"}, "validation_file", "invalid_value"),
        ({"method": None}, "method", "invalid_value"),
        ({"method": {"type": "supervised"}}, "method.type", "invalid_value"),
        ({"method": {"type": "reinforcement"}}, "method.reinforcement", "missing_required_parameter"),
        ({"grader": {"type": "x"}}, "method.reinforcement.grader.type", "invalid_value"),
        ({"grader": SAME | {"operation": "x"}}, "method.reinforcement.grader.operation", "invalid_value"),
        ({"grader": SAME | {"reference": "{{item.answer}}"}}, "method.reinforcement.grader", "invalid_value"),
        ({"suffix": "x" * 65}, "suffix", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"metadata": {"k" * 65: ""}}, None, "invalid_value"),
        ({"integrations": [{"type": "wandb"}]}, "integrations.0.wandb", "missing_required_parameter"),
        ({"temperature": 1}, "temperature", "invalid_value"),
        ({"settings": {"lora": {"rank": 0}}}, "settings.lora.rank", "invalid_value"),
        *(
            ({"hyperparameters": {name: value}}, f"{HYPER}.{name}", "invalid_value")
            for name, value in (
                ("batch_size", 257), ("n_epochs", 0), ("learning_rate_multiplier", 1e9),
                ("compute_multiplier", 0), ("eval_interval", 0), ("eval_samples", "many"),
                ("reasoning_effort", "x"),
            )
        ),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(
    call: Call, training: ApiFile, changes: dict[str, Any], param: str | None, code: str
) -> None:
    error = refused(call, build_body(training, **changes))
    assert error["code"] == code, error
    assert error["param"] == param or (param is None and error["param"].startswith("metadata")), error
    assert not Job.objects.exists()


def test_a_file_of_another_purpose_is_refused(call: Call, team: Team, alice: User) -> None:
    error = refused(call, build_body(make_file(team, alice, range(9), "evals")))
    assert error["param"] == "training_file"


def test_a_viewers_key_launches_nothing(viewer_call: Call, training: ApiFile) -> None:
    assert viewer_call("POST", "/fine_tuning/jobs", build_body(training)).status_code == 403
    assert not Job.objects.exists()


def test_another_teams_file_and_job_do_not_exist(stranger_call: Call, call: Call, training: ApiFile) -> None:
    made = create(call, training)
    assert refused(stranger_call, build_body(training))["param"] == "training_file"
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/checkpoints")):
        response = stranger_call(method, f"/fine_tuning/jobs/{made['id']}{path}")
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "fine_tune_not_found"
        assert response.json()["error"]["param"] == "fine_tune_id"
    assert stranger_call("GET", "/fine_tuning/jobs").json()["data"] == []


# --- lists and states -------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_by_cursor_and_metadata(call: Call, training: ApiFile) -> None:
    ids = [create(call, training, metadata=pairs)["id"] for pairs in ({"k": "1"}, {}, {"k": ""})]
    first = call("GET", "/fine_tuning/jobs?limit=2").json()
    assert [each["id"] for each in first["data"]] == ids[:0:-1]
    assert first["has_more"]
    rest = call("GET", f"/fine_tuning/jobs?limit=2&after={first['last_id']}").json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[:1], False)
    for query, found in (
        ("metadata%5Bk%5D=1", ids[0]),
        ("metadata%5Bk%5D=", ids[2]),
        ("metadata=null", ids[1]),
    ):
        assert [each["id"] for each in call("GET", f"/fine_tuning/jobs?{query}").json()["data"]] == [found]
    assert call("GET", "/fine_tuning/jobs?after=ftjob-x").status_code == 400
    assert call("GET", "/fine_tuning/jobs?limit=0").status_code == 400


def test_a_job_of_a_page_is_shown_with_its_settings(call: Call, job: Job) -> None:
    job.metrics.create(step=1, values={"reward": 0.5, "num_tokens": 1234.0})
    shown = call("GET", f"/fine_tuning/jobs/{job.uid}").json()
    hyperparameters = shown["method"]["reinforcement"]["hyperparameters"]
    assert hyperparameters == {
        "batch_size": 8, "n_epochs": 1, "learning_rate_multiplier": 1.0, "compute_multiplier": 1.0,
        "eval_interval": 20, "eval_samples": 4, "reasoning_effort": "default",
    }  # fmt: skip
    assert shown["training_file"] == job.dataset_version.uid
    assert (shown["status"], shown["trained_tokens"]) == ("succeeded", 1234)
    assert call("GET", f"/files/{shown['training_file']}").status_code == 200


def test_a_job_is_paused_resumed_and_cancelled(call: Call, training: ApiFile) -> None:
    made = create(call, training)
    job = Job.objects.get(uid=made["id"])
    path = f"/fine_tuning/jobs/{job.uid}"

    def act(action: str) -> Any:
        return call("POST", f"{path}/{action}")

    assert act("pause").json()["error"]["code"] == "invalid_job_state"
    validate_files(job.pk)
    change_state(job.pk, State.RUNNING, attempt=1)
    assert act("pause").json()["status"] == "running"  # until the checkpoint is written
    change_state(job.pk, State.PAUSED)
    assert act("resume").json()["status"] == "queued"
    cancelled = act("cancel").json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["finished_at"]
    assert act("cancel").status_code == 400


def test_a_failed_job_says_why(call: Call, training: ApiFile) -> None:
    job = Job.objects.get(uid=create(call, training)["id"])
    error = {"code": "invalid_training_file", "message": "Line 3 is empty.", "remedy": "Remove it."}
    change_state(job.pk, State.FAILED, error=error)
    shown = call("GET", f"/fine_tuning/jobs/{job.uid}").json()["error"]
    assert shown == {
        "code": "invalid_training_file", "message": "Line 3 is empty. Remove it.", "param": "training_file",
    }  # fmt: skip
