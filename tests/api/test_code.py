"""The code on a job's page runs against this API and launches the same job."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from functools import partial

import httpx2
import openai
import pytest
from django.test import Client

from tests.web.comparison import finished_job
from webapp.jobs.api.code import build_request, write_curl, write_sdk_call
from webapp.jobs.models import Job
from webapp.teams.models import Team, User

URL = "http://testserver/v1"


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    """A job of a page whose settings the hyperparameters of the API cannot all express."""
    job = finished_job(team, alice)
    lora = job.settings.lora.model_copy(update={"rank": 4, "alpha": 8})
    job.settings = job.settings.model_copy(update={"lora": lora})
    job.save()
    return job


def send_to_django(request: httpx2.Request) -> httpx2.Response:
    """Carry a request of the SDK to this process, in the test's transaction."""
    headers = {"authorization": request.headers["authorization"]}
    sent = {"data": request.content, "content_type": request.headers["content-type"], "headers": headers}
    response = Client().generic(request.method, request.url.path, **sent)
    return httpx2.Response(response.status_code, headers=dict(response.headers), content=response.content)


def assert_same_job(job: Job, uid: str) -> None:
    launched = Job.objects.get(uid=uid)
    for name in ("settings", "dataset_version", "grader_version", "base_model", "total_steps"):
        assert getattr(launched, name) == getattr(job, name), name


def test_the_sdk_call_launches_the_same_job(job: Job, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job.total_steps = 40
    request = build_request(job)
    assert request
    monkeypatch.setenv("GROOVE_API_KEY", secret)
    transport = httpx2.MockTransport(send_to_django)
    client = partial(openai.OpenAI, http_client=httpx2.Client(transport=transport))
    monkeypatch.setattr(openai, "OpenAI", client)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(write_sdk_call(request, URL), {})
    assert_same_job(job, printed.getvalue().strip())


def test_the_body_of_the_curl_command_launches_the_same_job(job: Job, secret: str) -> None:
    job.total_steps = 40
    request = build_request(job)
    assert request
    command = write_curl(request, URL)
    body = json.loads(command.split("<<'JSON'\n")[1].removesuffix("\nJSON"))
    made = Client().post(
        "/v1/fine_tuning/jobs", body, "application/json", headers={"authorization": f"Bearer {secret}"}
    )
    assert_same_job(job, made.json()["id"])


def test_the_settings_page_shows_both_with_this_sites_address(job: Job, bob: User, client: Client) -> None:
    client.force_login(bob)
    page = client.get(f"{job.get_absolute_url()}config/").text
    assert "client.fine_tuning.jobs.create(" in page
    assert f"curl {URL}/fine_tuning/jobs" in page


def test_a_job_that_the_api_cannot_launch_has_no_code(job: Job) -> None:
    job.method = "placebo"
    assert build_request(job) is None
