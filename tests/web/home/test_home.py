"""A team's home: what there is, what runs, what waits for somebody, what came out, what to do next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from tests.web.comparison import address, compare, row, sample, tuned_model
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.graders.models import GraderCheck
from webapp.graders.services import create_grader
from webapp.home.sample_project import create_sample_project
from webapp.jobs.models import Alarm, Job, Metric
from webapp.jobs.states import State
from webapp.registry.models import TunedModel
from webapp.teams.models import Membership, Team, User
from webapp.teams.services import record_event
from webapp.work import nodes
from workers.contract.devices import NodeDevices

SignIn = Callable[[User], Client]
JUDGED = {
    "type": "score_model", "name": "tone", "model": "judge", "range": [0, 1],
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
}  # fmt: skip
ROWS = b"".join(b'{"messages":[{"role":"user","content":"p%d"}]}\n' % number for number in range(20))


def like(job: Job, count: int, state: State, **values: Any) -> list[Job]:
    """Jobs as ``job`` in another state."""
    same = {
        "team": job.team, "base_model": job.base_model, "dataset_version": job.dataset_version,
        "grader_version": job.grader_version, "settings": job.settings,
    } | values  # fmt: skip
    return Job.objects.bulk_create(Job(name=f"{state} {n}", state=state, **same) for n in range(count))


def refreshed(client: Client, team: Team) -> HttpResponse:
    """What the page asks for by itself."""
    return client.get(team.get_absolute_url(), headers={"HX-Request": "true", "HX-Target": "live"})  # type: ignore[return-value]


def hide_checklist(user: User) -> None:
    Membership.objects.filter(user=user).update(checklist_hidden=True)


# --- what runs, what waits -------------------------------------------------------------------------


def test_home_shows_what_runs_and_the_rewards_of_what_finished(
    job: Job, alice: User, as_user: SignIn
) -> None:
    like(job, 1, State.RUNNING, step=3, total_steps=10)
    Job.objects.filter(pk=job.pk).update(step=200)
    Metric.objects.bulk_create(
        [Metric(job=job, step=step, values={"reward": step / 200}) for step in range(1, 201)]
    )
    page = as_user(alice).get(job.team.get_absolute_url())
    assert "running 0" in page.text
    (result,) = page.context["results"]
    assert 20 <= len(result.rewards) <= 80
    assert result.rewards == sorted(result.rewards)


def test_a_page_left_open_learns_what_began_and_what_ended(job: Job, bob: User, as_user: SignIn) -> None:
    client = as_user(bob)
    idle = refreshed(client, job.team).text
    assert "<html" not in idle
    assert "every 30s" in idle
    (begun,) = like(job, 1, State.RUNNING)
    running = refreshed(client, job.team).text
    assert begun.name in running
    assert "every 10s" in running
    Job.objects.filter(pk=begun.pk).update(
        state=State.FAILED, error={"message": "Out of memory."}, finished_at=timezone.now()
    )
    ended = refreshed(client, job.team).text
    assert f"{begun.name} failed" in ended
    assert "No job is running" in ended


def test_home_stays_short_and_leads_to_the_rest(job: Job, bob: User, as_user: SignIn) -> None:
    client = as_user(bob)
    queued = like(job, 30, State.QUEUED, queued_at=timezone.now())
    (running,) = like(job, 1, State.RUNNING)
    like(job, 20, State.PAUSED)
    Alarm.objects.create(job=running, step=2, code="length_drift", message="Long.", threshold="", remedy="")
    page = client.get(job.team.get_absolute_url())
    assert page.context["running"][0] == running
    assert len(page.context["running"]) == 10
    assert "All 31 running and queued" in page.text
    assert "and 16 more" in page.text  # 20 paused and 1 alarm, of which 5 stand below the missing worker
    listed = f"{job.team.get_absolute_url()}jobs/"
    assert client.get(listed, {"state": "active"}).context["page"].paginator.count == len(queued) + 1
    assert client.get(listed, {"state": "attention"}).context["page"].paginator.count == 21


def test_home_says_what_waits_for_a_person(job: Job, bob: User, as_user: SignIn) -> None:
    client, home = as_user(bob), job.team.get_absolute_url()
    assert client.get(home).context["attention"] == []
    error = {"code": "x", "message": "The grader <b>fails</b>.", "remedy": "Mend it."}
    Job.objects.filter(pk=job.pk).update(state=State.FAILED, error=error, finished_at=timezone.now())
    like(job, 1, State.QUEUED, queued_at=timezone.now())
    shown = client.get(home)
    assert [each.title for each in shown.context["attention"]] == [
        "1 job in the queue, but no worker is online",
        f"{job.name} failed",
    ]
    assert "The grader &lt;b&gt;fails&lt;/b&gt;. Mend it." in shown.text
    assert "<code>make worker</code>" in shown.text
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - timedelta(days=8))
    nodes.register_node("node", {}, NodeDevices(cpu_cores=8), {})
    assert client.get(home).context["attention"] == []


def test_what_was_not_measured_is_a_dash_and_a_difference_has_its_sign(
    job: Job, bob: User, as_user: SignIn
) -> None:
    client, home = as_user(bob), job.team.get_absolute_url()
    assert client.get(home).text.count("–</") >= 5
    compare(job, [row("a", [sample(0.2, "a")], [sample(0.7, "b")])])
    assert "+0.500" in client.get(home).text
    assert "[+0.450, +0.550]" in client.get(home).text


# --- what to do next -------------------------------------------------------------------------------


def test_first_steps_are_done_by_doing_them_and_can_be_hidden(
    team: Team, alice: User, as_user: SignIn
) -> None:
    client, home = as_user(alice), team.get_absolute_url()
    assert client.get(home).context["first_step"].title == "Add a dataset"
    client.post(f"{home}sample/")
    page = client.get(home)
    assert page.context["first_step"].title == "Launch a job"
    assert "First steps" in page.text
    client.post(f"{home}checklist/")
    hidden = client.get(home)
    assert "First steps" not in hidden.text
    assert hidden.context["next"].title == "Launch a job"
    client.post(f"{home}checklist/", {"show": "1"})
    assert "First steps" in client.get(home).text


def test_a_model_counts_as_downloaded_when_somebody_downloads_it(
    model: TunedModel, alice: User, as_user: SignIn
) -> None:
    client, home = as_user(alice), model.team.get_absolute_url()
    assert client.get(home).context["first_step"].title == "Download the model"
    client.get(address(model, "download", "README.md"))
    assert client.get(home).context["first_step"] is None


def test_next_is_the_most_useful_thing_that_is_true(
    job: Job, alice: User, bob: User, as_user: SignIn
) -> None:
    team, home = job.team, job.team.get_absolute_url()
    model = tuned_model(job)
    compare(job, [row("a", [sample(0.2, "a")], [sample(0.7, "b")])])
    check = {"cheats": [{"title": "An empty completion", "warned": True}]}
    GraderCheck.objects.update_or_create(
        version=job.grader_version, defaults={"state": GraderCheck.State.FINISHED, "results": check}
    )
    upload = receive_file(team, alice, "New", SimpleUploadedFile("new.jsonl", ROWS), Options())
    hide_checklist(alice)
    client = as_user(alice)

    def said() -> tuple[str, str]:
        step = client.get(home).context["next"]
        return step.title, step.url

    assert said() == ("Create a dataset version from new.jsonl", upload.get_absolute_url())
    commit_upload(upload, alice, Choices())
    assert said()[0] == f"Compare base and tuned of {job}"
    assert client.get(said()[1]).status_code == 200
    client.get(address(model, "archive"))
    grader = job.grader_version.grader
    assert said() == (f"Close the loophole of {grader}", grader.get_absolute_url())
    grader.versions.create(number=2, definition=job.grader_version.definition, sha256="0")
    assert client.get(home).context["next"] is None
    assert as_user(bob).get(home).context["next"] is None


def test_a_download_of_another_model_is_no_download_of_the_newest(
    job: Job, alice: User, as_user: SignIn
) -> None:
    tuned_model(job)
    record_event(job.team, alice, "downloaded adapter", "ft:groove/starter:acme:older:Xx3dE6gh")
    assert as_user(alice).get(job.team.get_absolute_url()).context["next"].title == (
        f"Download the model of {job}"
    )


def test_a_judge_without_a_card_is_next_and_the_busiest_home_asks_fifteen_times(
    job: Job, alice: User, as_user: SignIn, django_assert_max_num_queries: Any
) -> None:
    version = create_grader(job.team, alice, "Tone", JUDGED).versions.get()
    Job.objects.filter(pk=job.pk).update(grader_version=version)
    (running,) = like(job, 1, State.RUNNING)
    Alarm.objects.create(job=running, step=2, code="length_drift", message="Long.", threshold="", remedy="")
    record_event(job.team, alice, "downloaded adapter", tuned_model(job))
    hide_checklist(alice)
    client = as_user(alice)
    with django_assert_max_num_queries(15):
        step = client.get(job.team.get_absolute_url()).context["next"]
    assert (step.title, version.uid in step.url) == ("Calibrate the judge of Tone v1", True)


def test_a_viewer_is_told_nothing_that_only_editors_may_do(team: Team, bob: User, as_user: SignIn) -> None:
    create_sample_project(team, bob)
    hide_checklist(bob)
    page = as_user(bob).get(team.get_absolute_url())
    assert page.context["next"] is None
    assert "New job" not in page.text
