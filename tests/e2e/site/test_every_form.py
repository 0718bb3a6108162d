"""Every form of the product is submitted once in a real browser."""

from __future__ import annotations

import ast
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.account import urls as account_urls
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.utils import timezone
from playwright.sync_api import Page

from tests.api.conftest import make_secret
from tests.conftest import PASSWORD, ROOT, serve_web
from tests.e2e.forms import Step, list_forms, submit
from tests.e2e.site.test_every_page import sign_in
from tests.web.evals.runs import queued_run
from tests.web.interactions.records import keep
from tests.web.site.test_tenancy import (  # noqa: F401 -- objects is a fixture
    ADDRESSES,
    DEFINITION,
    Objects,
    finished_job,
    objects,
    tuned,
)
from webapp.datasets.uploads.transfers import add_part, begin_transfer
from webapp.datasets.uploads.validation import Options
from webapp.environments.models import EnvironmentInspection
from webapp.graders.models import Grader, GraderVersion
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry.models import BaseModel
from webapp.teams.models import Membership, Role, Team, User
from webapp.teams.services import create_invitation, create_team

NEW_ADDRESS = "alice.new@example.com"
NEW_PASSWORD = "another long phrase"
KNOWN = {"prompt": "What is due?", "answer": "5"}

MEMBERS = (
    Step("teams/members.html", "teams:members", {"email": "new@example.com"}, shows="new@example.com"),
    Step("teams:revoke", "teams:members", shows="no longer works"),
    Step("keys/list.html", "keys:list", {"name": "Nightly"}, shows="Copy Nightly now"),
    Step("keys:revoke", "keys:list", shows="no longer works"),
    Step("teams:role", "teams:members", {"role": "editor"}, within="/{bob}/", shows="is now editor"),
    Step("home/settings.html", "home:settings", {"name": "Acme Labs"}, shows="Settings saved."),
    Step("home/settings.html", "home:settings", {"rollouts_kept_days": "7"}, shows="Delete the rollouts"),
    Step("teams/confirm_change.html", shows="Settings saved."),
    Step("teams/audit.html", "teams:audit", {"text": "revoked"}, shows="revoked invitation"),
    Step("home/search.html", "home:search", {"q": "G"}, shows="Graders"),
    Step("home:checklist", "/t/{empty}/", shows="Show the first steps"),
    Step("home:sample", "/t/{empty}/datasets/", shows="sample"),
    Step("teams/invitation.html", "/invitations/{token}/", shows="Elsewhere"),
)
HOOK = {"name": "CI", "url": "https://hook.example/"}
WEBHOOKS = (
    Step("webhooks/new.html", "webhooks:new", HOOK, shows="Copy the signing secret now"),
    Step("webhooks:detail", "webhooks:detail", {"name": "Builds"}, shows="Saved"),
    Step("webhooks:test", "webhooks:detail", shows="The test failed"),
    Step("webhooks:rotate", "webhooks:detail", shows="Copy the signing secret now"),
    Step("webhooks:replay", "webhooks:detail", shows="again"),
)
REMOTE = (
    Step("remote_imports/connect.html", "remote_imports:connect",
         {"base_url": "{api}", "api_key": "{secret}"}, shows="Choose what to import"),
    Step("remote_imports:start", "", {"job": "{job}"}, shows="Waiting for a worker"),
    Step("remote_imports:cancel", "", shows="The import was cancelled."),
)  # fmt: skip
DATASETS = (
    Step("datasets/list.html", "datasets:list", {"q": "D"}, shows="Clear"),
    Step("datasets/row_search.html", "datasets:version", {"q": "p1"}, shows="row"),
    Step(
        "datasets/open_test.html", "datasets:open_test", {"confirmed": "yes"}, status=422, shows="This is not"
    ),
    Step("datasets/open_test.html", "", {"confirmed": "D v1"}, shows="opened"),
    Step("datasets:imports", "datasets:new", {"source": "https://files.example/rows.csv"}, shows="Import"),
    Step("datasets:cancel_import", "datasets:import", shows="not imported"),
    Step("datasets:finish", "datasets:new", shows="whole.jsonl"),
    Step("datasets:forget", "datasets:new", shows="Upload a dataset"),
    Step("datasets/upload.html 2", "datasets:upload", place=1, shows="a.jsonl"),
    Step("datasets:discard", "datasets:upload"),
    Step("datasets:rename", "datasets:detail", {"name": "Invoices"}, shows="Invoices"),
)
GRADERS = (
    Step("graders/list.html", "graders:list", {"q": "G"}, shows="Clear"),
    Step("version_changes.html", "graders:version", {"with": "2"}, shows="Changes from"),
    Step("graders:check", "graders:version", shows="Waiting for a worker"),
    Step("describe.html", "graders:describe", {"name": "Due dates"}, shows="Due dates"),
    Step("graders:add_known", "graders:detail", KNOWN | {"item": "["}, status=422, shows="This is not JSON"),
    Step("graders/known.html", "", {"item": "{}"}, shows="Saved as known"),
    Step("graders:checking", "graders:detail", {"cheat_threshold": "0.4"}),
    Step("graders:delete_test", "graders:detail", shows="The known answer was deleted."),
    Step("judges:check", "judges:list"),
)
ENVIRONMENTS = (
    Step("environments/list.html", "environments:list", {"q": "Num"}, shows="Clear"),
    Step("environments:inspect", "environments:version", shows="is being checked"),
    Step(
        "environments/connect.html",
        "environments:connect",
        {"name": "Desk", "url": "https://ors.example"},
        shows="A worker is testing it",
    ),
    Step("environments/server.html", "", {"concurrency": "4"}, shows="Saved as version 2"),
)
JOBS = (
    Step("jobs/list.html", "jobs:list", {"q": "J"}, shows="Clear"),
    Step("experiments:compare", "jobs:list", {"job": "{job}"}, shows="Select a second job"),
    Step("jobs/compare.html", "experiments:compare", {"job": "{job}"}, shows="Select a second job"),
    Step("jobs:pin", "jobs:detail", shows="Unpin"),
    Step("jobs:rename", "jobs:detail", {"name": "Invoices, small"}, shows="Invoices, small"),
    Step("jobs/rollouts.html", "jobs:rollouts", {"least": "0.1"}, shows="Save view"),
    Step("jobs:save_view", "", {"name": "Good ones"}, shows="Good ones"),
    Step("jobs:forget_view", "jobs:rollouts", shows="for the whole team"),
    Step("jobs:pause", "jobs:detail", other={"uid": "running"}, shows="Pausing…", once=True),
    Step("retention/choose.html", "jobs:new", press="add_suite", shows="Suite 2"),
    Step("evaluations/compare.html", "evaluations:compare", {"show": "tie"}, shows="Clear"),
)
MODELS = (
    Step("serving:warm", "serving:usage", shows="is kept warm"),
    Step("serving:stop", "serving:usage", shows="The next request starts it again."),
    Step("serving/usage.html", "/t/{team}/usage/?days=7", {"days": "90"}, shows="Clear"),
    Step("catalog/list.html", "catalog:list", {"q": "tiny"}, shows="Clear"),
    Step("catalog:describe", "catalog:model", {"description": "Reads invoices"}, shows="Reads invoices"),
    Step("registry/bases.html", "registry:bases", {"model_id": "acme/one"}, shows="acme/one"),
    Step("registry:inspect_base", "registry:base", shows="The inspection starts"),
    Step("registry:remove_base", "registry:bases", within="{spare}", shows="Removed"),
    Step("catalog/purge.html", "catalog:purge", {"confirmed": "{gone}"}, other={"uid": "gone"},
         shows="for good"),
)  # fmt: skip
SERVING = (
    Step("deployments/list.html", "deployments:list", {"q": "inv"}, shows="Clear"),
    Step(
        "deployments/new.html", "deployments:new", {"name": "invoices", "model": "tiny"}, shows="answers as"
    ),
    Step("deployments:roll_back", "deployments:detail", {"reason": "worse"}, shows="Rolled back"),
    Step("deployments:promote", "deployments:detail", shows="answers from now on"),
    Step("interactions/list.html", "interactions:list", {"q": "due"}, shows="Clear"),
    Step("interactions:vote", "interactions:detail", shows="Your thumb"),
    Step("interactions:correct", "interactions:detail", {"text": "13 EUR"}, shows="Your correction"),
    Step("interactions:make_dataset", "interactions:list", {"name": "Kept"}, shows="may train"),
    Step("evals/list.html", "evals:list", {"q": "cap"}, shows="Clear"),
    Step("evals/run.html", "evals:run", {"status": "fail"}, shows="Clear"),
    Step("evals:cancel", "evals:run", other={"uid": "waiting_run"}, shows="The run was canceled."),
    Step("playground/page.html", "playground:page", {"seed": "7"}, shows="Send one prompt"),
    Step("interactions/rules.html", "interactions:rules", {"retention_days": "7"}, shows="Rules saved"),
)
DESTRUCTIVE = (
    Step("interactions:delete", "interactions:detail", shows="Deleted"),
    Step("interactions:erase", "interactions:detail", other={"uid": "erased"}, shows="Erased 1"),
    Step("catalog:delete", "catalog:model", other={"uid": "unserved"}, shows="Model deleted"),
    Step("catalog:restore", "catalog:model", other={"uid": "unserved"}, shows="Restored"),
    Step("graders:delete", "graders:detail", shows="Grader deleted"),
    Step("graders:restore", "graders:detail"),
    Step("environments:delete", "environments:detail", shows="Environment deleted"),
    Step("environments:restore", "environments:detail"),
    Step("judges:delete", "judges:list", shows="Disconnected"),
    Step("datasets:delete", "datasets:detail", shows="Dataset deleted"),
    Step("datasets:restore", "datasets:detail"),
    Step("webhooks:delete", "webhooks:detail", shows="and its signing secret"),
    Step("teams:remove", "teams:members", within="/{bob}/", shows="was removed"),
)
NEW_EMAIL = (
    Step("account_email", "/accounts/email/", {"email": NEW_ADDRESS}, press="action_add"),
    Step("account_reauthenticate", "", {"password": PASSWORD}, shows=NEW_ADDRESS),
)
CONFIRMED = (Step("account_confirm_email", "/accounts/confirm-email/{confirmation}/", shows="confirmed"),)
ACCOUNT = (
    Step("account_change_password", "/accounts/password/change/",
         {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}),
    Step("account_logout", "/account/", shows="Sign in"),
)  # fmt: skip
STRANGER = (
    Step("account_reset_password", "/accounts/password/reset/", {"email": "bob@example.com"},
         shows="reset link"),
    Step("account_reset_password_from_key", "/accounts/password/reset/key/{reset}/",
         {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}),
)  # fmt: skip
LEAVING = (Step("account/logout.html", "/accounts/logout/", shows="Sign in"),)
TEAM_WALK = (
    *MEMBERS,
    *WEBHOOKS,
    *REMOTE,
    *DATASETS,
    *GRADERS,
    *ENVIRONMENTS,
    *JOBS,
    *MODELS,
    *SERVING,
    *DESTRUCTIVE,
)
WALK = (*TEAM_WALK, *NEW_EMAIL, *CONFIRMED, *ACCOUNT, *STRANGER, *LEAVING)

PRESETS = "tests/e2e/jobs/test_job.py::test_a_preset_fills_in_the_estimate_follows_and_a_clone_resets"
CONTROL_RUNS = "tests/e2e/jobs/test_control_runs.py::test_a_trained_job_is_compared_with_sft_and_a_placebo"
CHECKPOINTS = "tests/e2e/jobs/test_job_list.py::test_a_checkpoint_is_promoted_and_downloads_are_confirmed"
COMPARISON = "tests/e2e/jobs/test_compare.py::test_votes_by_keys_and_notes_in_place"
GRADER = (
    "tests/e2e/graders/test_graders.py"
    "::test_a_grader_is_imported_tried_held_to_known_answers_and_tested_for_cheats"
)
ENVIRONMENT = (
    "tests/e2e/environments/test_environments.py::test_an_environment_is_written_played_and_made_a_dataset"
)
JUDGE = "tests/e2e/graders/test_judges.py::test_a_judge_is_connected_asked_and_measured_against_labels"
LABELS = "tests/e2e/jobs/test_job_list.py::test_several_jobs_are_tagged_deleted_and_restored"
MAIN_JOB = (
    "tests/e2e/test_main_job.py::test_a_newcomer_goes_from_sign_up_to_an_adapter_that_loads_with_plain_peft"
)
RETENTION = "tests/e2e/jobs/test_retention.py::test_a_held_back_model_is_released_by_an_owner"
SHELL = "tests/e2e/site/test_shell.py::test_the_shell_by_keyboard"
TASKS = "tests/e2e/jobs/test_tasks.py::test_two_tasks_share_an_adapter_and_continue_from_it"
UPLOAD = "tests/e2e/datasets/test_uploads.py::test_a_new_version_is_uploaded"
SUBMITTED_ELSEWHERE = {
    "account_login": "tests/e2e/site/test_every_page.py::test_keyboard_alone_goes_from_sign_in_to_download",
    "account_signup": MAIN_JOB,
    "datasets/new.html": UPLOAD,
    "datasets/upload.html": UPLOAD,
    "evaluations:note": COMPARISON,
    "evaluations:vote": COMPARISON,
    "environments/detail.html": ENVIRONMENT,
    "environments/new.html": ENVIRONMENT,
    "environments:make_dataset": ENVIRONMENT,
    "environments:play": ENVIRONMENT,
    "environments:start": ENVIRONMENT,
    "graders/detail.html": GRADER,
    "graders/import.html": GRADER,
    "graders/new.html": MAIN_JOB,
    "graders:keep": GRADER,
    "graders:try": GRADER,
    "experiments/control_runs.html": CONTROL_RUNS,
    "jobs/charts_first.html": ("tests/e2e/jobs/test_charts.py::test_chart_settings_are_in_the_url"),
    "jobs/interference.html": TASKS,
    "jobs/log.html": CHECKPOINTS,
    "jobs/new.html": PRESETS,
    "jobs/task_rows.html": TASKS,
    "jobs:annotate": LABELS,
    "jobs:bulk": LABELS,
    "jobs:cancel": "tests/e2e/site/test_no_scripts.py::test_a_job_is_cancelled_without_scripts",
    "jobs:columns": LABELS,
    "jobs:delete": LABELS,
    "jobs:finish": CHECKPOINTS,
    "catalog:promote": CHECKPOINTS,
    "jobs:restore": LABELS,
    "jobs:resume": (
        "tests/e2e/jobs/test_preflight.py::test_a_job_that_cannot_learn_pauses_and_can_train_anyway"
    ),
    "judges/form.html": JUDGE,
    "judges/label.html": JUDGE,
    "judges:make_card": JUDGE,
    "judges:start": JUDGE,
    "catalog/held_back.html": CHECKPOINTS,
    "catalog:export": "tests/e2e/models/test_exports.py::test_an_export_is_made_checked_and_downloaded",
    "catalog:upload": (
        "tests/e2e/models/test_adapters.py::test_an_adapter_is_uploaded_saying_how_far_it_is_and_what_is_wrong"
    ),
    "retention/plane.html": RETENTION,
    "retention:release": RETENTION,
    "teams/account.html": SHELL,
    "home/new_team.html": "tests/e2e/site/test_frame.py::test_a_double_click_sends_a_form_once",
    "home:search": SHELL,  # the palette: its form is there for people without scripts
}
# Pages of allauth that only say something, and forms of sign-in methods that Groove does not offer.
NO_FORMS = {
    "account_inactive",
    "account_email_verification_sent",
    "account_reset_password_done",
    "account_reset_password_from_key_done",
    "account_confirm_login_code",
    "account_set_password",
}


def test_every_form_is_submitted_by_a_test() -> None:
    listed = list_forms() | {pattern.name for pattern in account_urls.urlpatterns} - NO_FORMS
    walked = {step.form for step in WALK}
    assert listed - walked - SUBMITTED_ELSEWHERE.keys() == set(), "no test submits these forms"
    assert (walked | SUBMITTED_ELSEWHERE.keys()) - listed == set(), "no template has these forms"
    assert walked & SUBMITTED_ELSEWHERE.keys() == set(), "once is enough"


@pytest.mark.parametrize("test", sorted(set(SUBMITTED_ELSEWHERE.values())))
def test_a_test_that_submits_a_form_exists(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


# --- the walk --------------------------------------------------------------------------------------


@pytest.fixture
def site(start: Callable[..., Any]) -> str:
    """Run a web process of this test alone, with confirmed addresses required."""
    return serve_web(start, GROOVE_EMAIL_VERIFICATION="mandatory")


@pytest.fixture
def named(team: Team, alice: User, bob: User, charlie: User, objects: Objects) -> dict[str, str]:  # noqa: F811
    """More objects, by the names used in the steps."""
    job = Job.objects.get(uid=objects["jobs"]["uid"])
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - timedelta(days=30))
    base, grader = BaseModel.objects.get(team=team), Grader.objects.get(team=team)
    GraderVersion.objects.create(grader=grader, number=2, definition=DEFINITION, sha256="1")
    EnvironmentInspection.objects.update(state=EnvironmentInspection.State.FINISHED)
    gone = tuned(team, base)
    gone.deleted_at = timezone.now()
    gone.save()
    whole_transfer(team, alice)
    alice.password = PBKDF2PasswordHasher().encode(PASSWORD, "some salt")  # tests have a faster one
    alice.save()
    EmailAddress.objects.create(user=alice, email=alice.email, primary=True, verified=True)
    invitation = create_invitation(charlie.teams.get(), charlie, "", Role.EDITOR)
    return {
        "job": job.uid,
        "running": running_job(team, job).uid,
        "gone": gone.uid,
        "waiting_run": queued_run(team).uid,
        "unserved": tuned(team, base).uid,
        "erased": keep(team, user="u-2").uid,
        "spare": BaseModel.objects.create(team=team, model_id="spare").uid,
        "bob": str(Membership.objects.get(team=team, user=bob).pk),
        "empty": create_team(alice, "Empty").slug,
        "token": invitation.token,
        "reset": f"{user_pk_to_url_str(bob)}-{default_token_generator.make_token(bob)}",
    }


def running_job(team: Team, like: Job) -> Job:
    """A job that a worker is training, with the data and grader of another one."""
    job = finished_job(
        team, like.base_model, like.dataset_version, like.grader_version, tuned(team, like.base_model)
    )
    now = timezone.now()
    running = {"state": State.RUNNING, "attempt": 1, "phase": "train", "total_steps": 9, "tuned_model": None}
    Job.objects.filter(pk=job.pk).update(**running, finished_at=None, lease_until=now + timedelta(hours=1))
    return job


def whole_transfer(team: Team, user: User) -> None:
    """Create a complete transfer that is not checked yet."""
    content = b'{"messages":[{"role":"user","content":"p"}]}\n'
    transfer = begin_transfer(
        team, user, filename="whole.jsonl", size=len(content), name="Whole", options=Options(), dataset=None
    )
    add_part(transfer, 0, content)


def walk(page: Page, steps: tuple[Step, ...], team: Team, owned: Objects, named: dict[str, str]) -> None:
    """Submit the forms in order. The server may answer an expected 422, and no other error."""
    pages = {address.name: address for address in ADDRESSES}
    failed: list[str] = []
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    for step in steps:
        step = with_names(step, named)
        if step.at in pages:
            namespace = step.at.partition(":")[0]
            own = owned | {namespace: {**owned[namespace], **step.other}}
            page.goto(pages[step.at].url(team.slug, own))
        elif step.at:
            page.goto(step.at)
        submit(page, step)
        assert len(failed) == (step.status == 422), f"{step.form}: {failed}"
        failed.clear()


def with_names(step: Step, named: dict[str, str]) -> Step:
    """Return the step with the names in braces replaced."""
    return Step(
        **{
            **vars(step),
            "at": step.at.format(**named),
            "within": step.within.format(**named),
            "fill": {key: named.get(text.strip("{}"), text) for key, text in step.fill.items()},
            "other": {key: named[text] for key, text in step.other.items()},
        }
    )


def test_every_form_answers(
    page: Page,
    site: str,
    team: Team,
    alice: User,
    bob: User,
    objects: Objects,  # noqa: F811
    named: dict[str, str],
) -> None:
    sign_in(page, site, alice)
    page.emulate_media(reduced_motion="reduce")
    named |= {"api": f"{site}/v1", "secret": make_secret(team, alice), "team": team.slug}
    walk(page, (*TEAM_WALK, *NEW_EMAIL), team, objects, named)
    confirmation = EmailConfirmationHMAC.create(EmailAddress.objects.get(email=NEW_ADDRESS))
    walk(page, CONFIRMED, team, objects, named | {"confirmation": confirmation.key})
    for user, steps in ((alice, (*ACCOUNT, *STRANGER)), (bob, LEAVING)):
        user.refresh_from_db()
        sign_in(page, site, user)
        walk(page, steps, team, objects, named)
