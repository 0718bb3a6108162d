"""The test split: no request shows its rows until an owner opens it, and every later result says so."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.web.comparison import compare, finished_job, row, sample, tuned_model
from tests.web.datasets.test_datasets import SignIn, jsonl, upload_file
from tests.web.stored import rows_of
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.services import Choices, commit_upload
from webapp.datasets.versions.sealing import open_test_split
from webapp.jobs.models import Job
from webapp.jobs.monitor.openings import find_openings
from webapp.jobs.states import State
from webapp.teams.models import AuditEvent, Team, User

LISTS_OF_RESULTS = [("home", "overview"), ("jobs", "list"), ("catalog", "list")]


@pytest.fixture
def version(team: Team, alice: User) -> DatasetVersion:
    made, _ = commit_upload(upload_file(team, alice, jsonl(60)), alice, Choices())
    return made


def test_no_request_shows_sealed_rows(
    team: Team, alice: User, version: DatasetVersion, as_user: SignIn
) -> None:
    client, base = as_user(alice), version.get_absolute_url()
    sealed = rows_of(version.files["test"]["key"])
    assert client.get(base + "download/", {"split": "test"}).status_code == 403
    page = client.get(base, {"split": "test"}).content.decode()
    assert "Download test" not in page
    pages = [
        page,
        *(client.get(base, {"split": split}).content.decode() for split in ("train", "validation")),
        client.get(base, {"split": "train", "q": sealed[0]["messages"][0]["content"]}).content.decode(),
        client.get(team.uploads.get().get_absolute_url()).content.decode(),
    ]
    for each in sealed:
        assert client.get(f"{base}rows/{each['row_id']}/").status_code == 404
        assert not any(each["messages"][0]["content"] + "<" in shown for shown in pages)


def test_only_an_owner_who_types_the_name_opens_it(
    alice: User, erin: User, version: DatasetVersion, as_user: SignIn
) -> None:
    owner, base = as_user(alice), version.get_absolute_url()
    assert as_user(erin).post(base + "open-test/", {"confirmed": str(version)}).status_code == 403
    assert owner.post(base + "open-test/", {"confirmed": "yes"}).status_code == 422
    version.refresh_from_db()
    assert version.test_opened_at is None
    owner.post(base + "open-test/", {"confirmed": str(version)})
    version.refresh_from_db()
    assert version.test_opened_by == alice
    assert AuditEvent.objects.filter(verb="opened test split", user=alice, target=str(version)).count() == 1
    shown = owner.get(base, {"split": "test"})
    assert len(shown.context["rows"]) == version.files["test"]["rows"]
    assert "The test split was opened" in shown.content.decode()
    assert as_user(erin).get(base + "download/", {"split": "test"}).status_code == 200


def test_every_later_result_says_that_it_was_opened(
    team: Team, alice: User, as_user: SignIn, version: DatasetVersion
) -> None:
    client, job = as_user(alice), finished_job(team, alice)
    job.dataset_version, job.finished_at = version, timezone.now()
    job.save()
    model = tuned_model(job)
    compare(job, [row("r", [sample(0.0, "a")], [sample(1.0, "b")])])
    job.suites.create(position=0, name="Tickets", built_in="ticket")
    own = job.get_absolute_url()
    paths = [
        own, f"{own}compare/", f"{own}retention/", model.get_absolute_url(),
        f"{model.get_absolute_url()}card/",
    ]  # fmt: skip
    lists = [reverse(f"{name}:{page}", args=[team.slug]) for name, page in LISTS_OF_RESULTS]
    assert not any("est split opened" in client.get(path).text for path in [*paths, *lists])
    open_test_split(version, alice)
    assert find_openings([job]) == []  # its end came before
    for before_launch, words in ((False, "while this job ran"), (True, "before this job")):
        job.finished_at = timezone.now()
        job.save()
        if before_launch:
            type(job).objects.filter(pk=job.pk).update(created_at=timezone.now())
        for path in paths:
            assert f"Test split opened {words}" in client.get(path).content.decode(), path
        for path in lists:
            assert "test split opened" in client.get(path).text, path


def test_results_of_several_jobs_name_those_that_ended_after_the_opening(
    team: Team, alice: User, as_user: SignIn, version: DatasetVersion
) -> None:
    root = finished_job(team, alice, "Root")
    compare(root, [row("r", [sample(0.0, "a")], [sample(1.0, "b")])])
    early, during, late = (
        Job.objects.create(
            team=team, name=name, base_model=root.base_model, dataset_version=version, method="placebo",
            control_of=root, grader_version=root.grader_version, settings=root.settings,
            state=State.SUCCEEDED,
        )
        for name in ("Early", "During", "Late")
    )  # fmt: skip
    Job.objects.filter(pk=early.pk).update(finished_at=timezone.now())
    open_test_split(version, alice)
    Job.objects.filter(pk__in=[during.pk, late.pk]).update(finished_at=timezone.now())
    Job.objects.filter(pk=late.pk).update(created_at=timezone.now())
    client = as_user(alice)
    compared = client.get(
        reverse("experiments:compare", args=[team.slug]), {"job": [early.uid, during.uid, late.uid, root.uid]}
    ).text
    for page in (compared, client.get(reverse("experiments:control_runs", args=[team.slug, root.uid])).text):
        assert "Test split opened while 1 of these jobs ran" in page
        assert "Test split opened before 1 of these jobs" in page
    openings = find_openings(list(Job.objects.filter(team=team)))
    assert [(each.before_launch, each.jobs) for each in openings] == [(True, [late]), (False, [during])]


def test_a_models_results_in_other_jobs_say_whose_test_split_was_opened(
    team: Team, alice: User, as_user: SignIn, version: DatasetVersion
) -> None:
    model = tuned_model(finished_job(team, alice, "Root"))
    for name in ("Early", "Late"):
        job = finished_job(team, alice, name)
        job.dataset_version, job.initial_adapter, job.finished_at = version, model, timezone.now()
        job.save()
        compare(job, [row("r", [sample(0.0, "a")], [sample(1.0, "b")])])
    client, page = as_user(alice), model.get_absolute_url()
    assert "test split opened" not in client.get(page).text
    open_test_split(version, alice)
    Job.objects.filter(name="Late").update(finished_at=timezone.now())
    table = client.get(page).text.partition('aria-label="Measured in other jobs"')[2].partition("</table>")[0]
    late, early = table.split("<tr>")[2:]
    assert ["Late" in late, "test split opened" in late] == [True, True]
    assert ["Early" in early, "test split opened" in early] == [True, False]


def test_the_numbers_of_a_comparison_mention_the_opening(
    team: Team, alice: User, as_user: SignIn, version: DatasetVersion
) -> None:
    job = finished_job(team, alice)
    job.dataset_version = version
    job.save()
    compare(job, [row("r", [sample(0.0, "a")], [sample(1.0, "b")])])
    open_test_split(version, alice)
    numbers = as_user(alice).get(reverse("evaluations:numbers", args=[team.slug, job.uid])).json()
    (opening,) = numbers["test_openings"]
    assert (opening["version"], opening["before_launch"]) == (str(version), False)


def test_an_opening_counts_for_the_other_versions_of_the_dataset(
    team: Team, alice: User, version: DatasetVersion
) -> None:
    """Prompts keep their splits, so their test rows are the same."""
    later = upload_file(team, alice, jsonl(90))
    later.dataset = version.dataset
    later.save()
    second, _ = commit_upload(later, alice, Choices())
    first_ids, second_ids = (
        {row["row_id"] for row in rows_of(each.files["test"]["key"])} for each in (version, second)
    )
    assert first_ids <= second_ids
    job = finished_job(team, alice)
    job.dataset_version, job.finished_at = second, None
    job.save()
    open_test_split(version, alice)
    assert [opening.version for opening in find_openings([job])] == [version]
