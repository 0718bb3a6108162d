"""Charts of one job or of several, their files, and the comparison of jobs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.web.comparison import body, compare, finished_job, row, sample, side_summary
from webapp.graders.services import create_grader
from webapp.jobs.models import Job, Metric
from webapp.jobs.monitor import metrics
from webapp.teams.models import User

EXACT = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "x",
    "operation": "eq",
}
SignIn = Callable[[User], Client]


def measure(job: Job, steps: int, **columns: Callable[[int], float]) -> None:
    Metric.objects.bulk_create(
        Metric(job=job, step=step, values={name: value_at(step) for name, value_at in columns.items()})
        for step in range(1, steps + 1)
    )


def again(job: Job, name: str, **changes: Any) -> Job:
    """Create a copy of the job with changes."""
    values = {each.attname: getattr(job, each.attname) for each in Job._meta.concrete_fields}
    for own in ("id", "uid", "tuned_model_id"):
        values.pop(own, None)
    return Job.objects.create(**values | {"name": name} | changes)


def numbers(client: Client, job: Job, **query: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(reverse("jobs:metrics", args=[job.team.slug, job.uid]), query).json()
    return answer


def table(client: Client, url: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body(client.get(url)).decode())))


def test_charts_can_be_drawn_against_time_and_tokens(job: Job, alice: User, as_user: SignIn) -> None:
    measure(job, 3, step_time=float, tokens_per_second=lambda step: 10.0)
    assert numbers(as_user(alice), job)["x"] == {"seconds": [1.0, 3.0, 6.0], "tokens": [10.0, 30.0, 60.0]}


def test_validations_are_among_the_metrics(job: Job, alice: User, as_user: SignIn) -> None:
    measure(job, 60, reward=lambda step: step / 60)
    compare(job, [row("a", [sample(0.5, "x")], [sample(0.75, "y")])], "during", "validation")
    shown = numbers(as_user(alice), job)["series"]["validation/reward"]
    assert shown[59] == 0.75
    assert shown[:59] == [None] * 59


def test_thinning_keeps_spikes_and_smooths_over_all_steps(job: Job, alice: User, as_user: SignIn) -> None:
    measure(job, 5_000, reward=lambda step: 9.0 if step == 2_345 else step / 5_000)
    client = as_user(alice)
    plain, smooth = numbers(client, job), numbers(client, job, smooth="0.9")
    assert plain["thinned"]
    assert len(plain["steps"]) <= metrics.MAX_POINTS
    assert max(plain["series"]["reward"]) == 9.0
    values = list(job.metrics.order_by("step").values_list("values__reward", flat=True))
    expected = dict(zip(range(1, 5_001), metrics.smooth_column(values, 0.9), strict=True))
    assert smooth["smoothed"]["reward"] == [expected[step] for step in smooth["steps"]]
    assert numbers(client, job, smooth="nonsense") == plain


def test_thinning_keeps_the_steps_of_validations(job: Job, alice: User, as_user: SignIn) -> None:
    """They do not move to the end of a bucket and do not appear twice."""
    measure(job, 5_000, reward=lambda step: step / 5_000)
    side = side_summary(0.5, 0.4, 0.6)
    for step in (1_002, 1_003, 2_345):
        job.evaluations.create(
            stage="during", split="validation", step=step, rows=30, samples_per_row=1, base=side, tuned=side
        )
    shown = numbers(as_user(alice), job, smooth="0.9")
    values = zip(shown["steps"], shown["series"]["validation/reward"], strict=True)
    assert [step for step, value in values if value is not None] == [1_002, 1_003, 2_345]
    assert len(shown["steps"]) == len(shown["smoothed"]["reward"]) == len(shown["series"]["reward"])
    assert shown["series"]["reward"][shown["steps"].index(2_345)] == 2_345 / 5_000
    assert None not in shown["series"]["reward"]


def test_a_placebo_is_never_the_baseline(job: Job, alice: User, as_user: SignIn) -> None:
    """Its rewards were random, so a difference to it means nothing."""
    placebo = again(job, "Placebo", method="placebo", control_of=job)
    client, url = as_user(alice), reverse("experiments:compare", args=[job.team.slug])
    for query in ({}, {"base": placebo.uid}):
        page = client.get(url, {"job": [placebo.uid, job.uid], **query})
        assert page.context["baseline"] == job
        assert f"base={placebo.uid}" not in page.text
    client.post(reverse("jobs:pin", args=[job.team.slug, placebo.uid]), {"pin": "baseline"})
    placebo.refresh_from_db()
    assert placebo.pin == ""


def test_method_and_suites_are_listed_as_differing_settings(job: Job, alice: User, as_user: SignIn) -> None:
    placebo = again(job, "Placebo", method="placebo", control_of=job)
    placebo.suites.create(position=0, name="Arithmetic", built_in="arithmetic", max_loss=0.05)
    page = as_user(alice).get(
        reverse("experiments:compare", args=[job.team.slug]), {"job": [job.uid, placebo.uid]}
    )
    differing = {setting.name: setting.values for setting in page.context["settings"]}
    assert differing == {"method": ["RFT", "Placebo"], "suites": [None, "Arithmetic, may lose 0.05"]}


@given(st.lists(st.none() | st.floats(-1e6, 1e6)), st.floats(0, 0.99))
def test_a_moving_average_stays_between_least_and_greatest_value(
    column: list[float | None], weight: float
) -> None:
    known = [value for value in column if value is not None]
    smoothed = metrics.smooth_column(column, weight)
    assert [value is None for value in smoothed] == [value is None for value in column]
    assert all(min(known) - 1e-3 <= value <= max(known) + 1e-3 for value in smoothed if value is not None)


def test_the_csv_of_a_chart_has_all_its_jobs(job: Job, alice: User, as_user: SignIn) -> None:
    other = again(job, "=Second")
    for each in (job, other):
        measure(each, 1, reward=lambda step: 0.5, loss=lambda step: 1.0)
    client = as_user(alice)
    page = client.get(job.get_absolute_url(), {"with": other.uid})
    reward = next(chart for chart in page.context["charts"] if chart["title"] == "Reward")
    assert table(client, reward["csv"]) == [
        ["job", "step", "reward"],
        ["Invoices", "1", "0.5"],
        ["'=Second", "1", "0.5"],
    ]


def test_charts_never_have_jobs_of_another_team(
    job: Job, alice: User, charlie: User, as_user: SignIn
) -> None:
    foreign = finished_job(charlie.teams.get(), charlie, "Secret")
    measure(foreign, 1, reward=float)
    client = as_user(alice)
    page = client.get(job.get_absolute_url(), {"with": foreign.uid})
    assert [each["name"] for each in json.loads(page.context["sources"])] == ["Invoices"]
    beside = client.get(reverse("experiments:compare", args=[job.team.slug]), {"job": [job.uid, foreign.uid]})
    assert "Secret" not in beside.text


def test_the_comparison_pairs_rows_and_lists_differing_settings(
    job: Job, alice: User, as_user: SignIn
) -> None:
    grpo = job.settings.grpo.model_copy(update={"learning_rate": 0.05})
    second = again(job, "Faster", settings=job.settings.model_copy(update={"grpo": grpo}))
    grader = create_grader(job.team, alice, "Other", EXACT)
    third = again(job, "Graded otherwise", grader_version_id=grader.versions.get().pk)
    for each, tuned in ((job, 0.5), (second, 0.75), (third, 1.0)):
        compare(each, [row(name, [sample(0.25, "x")], [sample(tuned, "y")]) for name in "abc"])
    client, url = as_user(alice), reverse("experiments:compare", args=[job.team.slug])
    page = client.get(url, {"job": [job.uid, second.uid, third.uid]})
    compared = page.context["compared"]
    assert [each.no_difference for each in compared] == ["–", "", "other grader version"]
    assert (compared[1].difference.mean, compared[1].difference.rows) == (0.25, 3)
    assert [setting.name for setting in page.context["settings"]] == ["grader", "grpo.learning_rate"]
    turned = client.get(url, {"job": [job.uid, second.uid], "base": second.uid})
    assert turned.context["compared"][0].difference.mean == -0.25
    assert "Which jobs?" in client.get(url).text


def test_a_sparkline_runs_from_the_first_step_to_the_last(job: Job) -> None:
    short, silent = again(job, "Short", step=3), again(job, "Silent", step=0)
    job.step = 1000
    measure(job, 1000, reward=float)
    measure(short, 3, reward=float)
    found = metrics.sample_rewards([job, short, silent])
    assert (found[job.pk][0], found[job.pk][-1], len(found[job.pk])) == (1.0, 1000.0, metrics.SPARK_POINTS)
    assert found[short.pk] == [1.0, 2.0, 3.0]
    assert silent.pk not in found


def test_the_search_offers_every_job_for_comparison(job: Job, alice: User, as_user: SignIn) -> None:
    """This holds for old jobs among many newer ones; selected jobs stay."""
    client, page = as_user(alice), reverse("experiments:compare", args=[job.team.slug])
    many = [again(job, f"Job {number}") for number in range(30)]
    assert job.name not in client.get(page).text
    headers = {"HX-Request": "true", "HX-Target": "chooser"}
    part = client.get(page, {"find": "invo", "job": many[3].uid}, headers=headers).text
    assert part.strip().startswith('<div id="chooser"')
    assert job.name in part
    assert f'value="{many[3].uid}"\n                 checked' in part
    own = client.get(many[0].get_absolute_url(), {"find": job.uid}, headers=headers).text
    assert job.name in own
    assert 'name="with"' in own


def test_the_page_says_how_many_jobs_are_not_shown(job: Job, alice: User, as_user: SignIn) -> None:
    uids = [again(job, f"Job {number}").uid for number in range(10)]
    shown = as_user(alice).get(reverse("experiments:compare", args=[job.team.slug]), {"job": uids})
    assert len(shown.context["jobs"]) == 8
    assert "2 selected jobs are not shown" in shown.text
