"""Measurements of a model over time, in a figure and a table."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.test import Client

from tests.web.comparison import compare, finished_job, row, sample, side_summary
from webapp.catalog import history
from webapp.catalog.history import Measurement, Series, build_figure
from webapp.jobs.models import Evaluation, Job, SuiteScore
from webapp.registry.models import TunedModel
from webapp.teams.models import User
from workers.contract.events import Interval, SideSummary

SignIn = Callable[[User], Client]


def interval(mean: float) -> Interval:
    return Interval(mean=mean, low=mean - 0.1, high=mean + 0.1)


def side(mean: float) -> SideSummary:
    return side_summary(mean, mean - 0.1, mean + 0.1)


def evaluate(job: Job, stage: str, step: int, base: float, tuned: float | None, task: str = "") -> Evaluation:
    return Evaluation.objects.create(
        job=job, stage=stage, step=step, task=task, split="test" if stage == "after" else "validation",
        rows=20, samples_per_row=2, base=side(base), tuned=None if tuned is None else side(tuned),
    )  # fmt: skip


def measured(stage: str, step: int, base: float | None, tuned: float | None) -> Measurement:
    base_interval, tuned_interval = (None if mean is None else interval(mean) for mean in (base, tuned))
    return Measurement(stage, step, "", 20, 2, base_interval, tuned_interval, None)


def lines(page: str) -> list[list[str]]:
    """The table of all measurements, without its head."""
    table = page.partition('aria-label="All measurements"')[2].partition("</table>")[0]
    texts = [
        [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[hd][ >].*?</t[hd]>", tr)]
        for tr in re.findall(r"<tr>.*?</tr>", table.replace("\n", " "))
    ]
    return [[cell.removeprefix("> ") for cell in text] for text in texts[1:]]


def test_marks_stand_where_their_numbers_are() -> None:
    """Step 0 at the left, the last step at the right, after training apart; 0 at the bottom, 1 on top."""
    points = [
        measured("before", 0, 0.2, None),
        measured("during", 10, 0.2, 0.5),
        measured("during", 20, 0.2, 0.7),
        measured("after", 20, 0.1, 0.9),
    ]
    base, tuned = build_figure(Series("Held-out rows", points), "Base").sides
    assert [mark.x for mark in base.marks] == ["12.00%", "46.00%", "80.00%", "93%"]
    assert [mark.x for mark in tuned.marks] == ["46.00%", "80.00%", "93%"]
    assert len(base.joined) == 2
    assert [(one.when, two.when) for one, two in tuned.joined] == [("step 10", "step 20")]
    span = history.BOTTOM - history.TOP
    assert [mark.mean for mark in tuned.marks] == [round(history.BOTTOM - span * r) for r in (0.5, 0.7, 0.9)]
    assert all(mark.high < mark.mean < mark.low for mark in base.marks + tuned.marks)


def test_the_scale_widens_for_rewards_beyond_0_and_1() -> None:
    drawn = build_figure(Series("x", [measured("after", 5, -1.9, 3.9)]), "Base")
    assert [label for _, label in drawn.levels] == ["-2.00", "-0.50", "1.00", "2.50", "4.00"]
    assert all(
        mark.high >= history.TOP and mark.low <= history.BOTTOM for a in drawn.sides for mark in a.marks
    )
    assert [label for _, label, _ in drawn.steps] == ["step 0", "after"]


def test_the_page_lists_every_measurement_and_no_other_number(
    model: TunedModel, bob: User, as_user: SignIn
) -> None:
    job = model.job
    evaluate(job, "after", 60, 0.3, 0.8)
    evaluate(job, "before", 0, 0.2, None)
    evaluate(job, "during", 20, 0.2, 0.5)
    SuiteScore.objects.create(
        job=job, suite="Sums", stage="after", step=60, rows=40, samples_per_row=1, base=interval(0.4),
        tuned=interval(0.35), forgetting={"mean": 0.05, "low": 0.01, "high": 0.09},
    )  # fmt: skip
    SuiteScore.objects.create(job=job, suite="Only base", stage="before", step=0, rows=9, samples_per_row=1,
                              base=interval(0.77))  # fmt: skip
    page = as_user(bob).get(model.get_absolute_url()).text
    found = lines(page)
    assert [each[:2] for each in found] == [
        ["Held-out rows", "before training"],
        ["Held-out rows", "step 20"],
        ["Held-out rows", "after training"],
        ["Suite Sums", "after training"],
    ]
    assert found[0][2:] == ["0.200 [0.100, 0.300]", "–", "–", "20 × 2, validation"]
    assert found[1][3] == "0.500 [0.400, 0.600]"
    assert found[3][4] == "−0.050 [−0.090, −0.010]"
    assert page.count("<figure") == 2
    assert "0.770" not in page


def test_tasks_are_drawn_one_by_one(model: TunedModel, alice: User, as_user: SignIn) -> None:
    for task in ("", "dates", "sums"):
        evaluate(model.job, "after", 60, 0.3, 0.8, task)
    page = as_user(alice).get(model.get_absolute_url()).text
    assert [each[0] for each in lines(page)] == ["Held-out rows", "Task dates", "Task sums"]


def test_measurements_in_other_jobs_are_this_models_own(
    model: TunedModel, alice: User, as_user: SignIn
) -> None:
    """A job that continues from it measures it as its base; a control run is compared with it."""
    rows = [row("a", [sample(0.5, "x")], [sample(0.9, "y")])]
    onward, arm_job = finished_job(model.team, alice, "Goes on"), finished_job(model.team, alice, "Lots")
    Job.objects.filter(pk=onward.pk).update(initial_adapter=model)
    Job.objects.filter(pk=arm_job.pk).update(method="placebo", control_of=model.job)
    compare(onward, rows)
    compare(arm_job, [row("a", [sample(0.5, "x")], [sample(0.6, "y")])])
    compare(finished_job(model.team, alice, "Unrelated"), rows)
    found = history.list_other_results(model)
    assert [(each.job.name, each.role, each.reward.mean) for each in found] == [
        ("Lots", "Placebo control run, compared with this model", 0.6),
        ("Goes on", "this model, as its initial adapter", 0.5),
    ]
    page = as_user(alice).get(model.get_absolute_url()).text
    assert "this model, as its initial adapter" in page
    assert "Unrelated" not in page


def test_a_model_that_nobody_measured_says_so(model: TunedModel, alice: User, as_user: SignIn) -> None:
    page = as_user(alice).get(model.get_absolute_url()).text
    assert "The job that made this model measured nothing." in page
    assert "<figure" not in page
    Job.objects.update(tuned_model=None)
    TunedModel.objects.update(uploaded=True, shape={"rank": 8, "alpha": 16})
    assert "measured when a job continues from it" in as_user(alice).get(model.get_absolute_url()).text
