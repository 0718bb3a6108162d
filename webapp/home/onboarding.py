"""Next steps: the first steps of a new team, and later the most useful one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef
from django.urls import reverse

from webapp.datasets.content.limits import STALE_UPLOAD_HOURS
from webapp.datasets.models import Upload
from webapp.graders.models import GraderCheck, GraderVersion
from webapp.home.overview import Counts, Result
from webapp.jobs.models import Job
from webapp.teams import audit
from webapp.teams.models import Team


@dataclass(frozen=True)
class Step:
    """A step with its page. A first step is ``done`` when the team has what it creates."""

    title: str
    text: str
    url: str
    done: bool = False


def build_first_steps(team: Team, found: Counts) -> list[Step]:
    """Build the first steps in order: dataset, grader, job, download."""
    steps = (
        ("datasets:list", "Add a dataset", "Prompts, with the fields that a grader needs.", found.datasets),
        ("graders:list", "Write a grader", "It gives every completion a reward between 0 and 1.",
         found.graders),
        ("jobs:new", "Launch a job", "Train the model and watch its reward.", found.jobs),
        ("catalog:list", "Download the model", "Compare base and tuned, then download the adapter.",
         found.downloaded),
    )  # fmt: skip
    return [Step(title, text, reverse(url, args=[team.slug]), bool(done)) for url, title, text, done in steps]


def find_next_step(team: Team, first: Sequence[Step], results: Sequence[Result]) -> Step | None:
    """Return the first step of ``CONDITIONS`` that applies, else the first one not done."""
    for condition in CONDITIONS:
        if step := condition(team, results):
            return step
    return next((step for step in first if not step.done), None)


def _find_waiting_upload(team: Team, _: Sequence[Result]) -> Step | None:
    waiting = team.uploads.filter(state=Upload.State.CHECKED).select_related("team").defer("report")
    if not (upload := waiting.order_by("-pk").first()):
        return None
    text = f"It is checked and waits for your decision. It is deleted after {STALE_UPLOAD_HOURS} hours."
    return Step(f"Create a dataset version from {upload.filename}", text, upload.get_absolute_url())


def _find_unused_model(team: Team, results: Sequence[Result]) -> Step | None:
    own = (each for each in results if not (each.job.control_of_id or each.job.interference_of_id))
    newest = next(own, None)
    model = newest.job.tuned_model if newest else None
    if newest is None or model is None or model.deleted_at:
        return None
    if audit.find_model_downloads(team).filter(target__endswith=model.name).exists():
        return None
    if newest.evaluation is None:
        return Step(
            f"Download the model of {newest.job}", "Nobody has downloaded it yet.", model.get_absolute_url()
        )
    text = "Then download the model. Nobody has downloaded it yet."
    url = reverse("evaluations:compare", args=[team.slug, newest.job.uid])
    return Step(f"Compare base and tuned of {newest.job}", text, url)


def _find_loophole(team: Team, _: Sequence[Result]) -> Step | None:
    """Find a grader in use whose newest version rewards a cheat."""
    newer = GraderVersion.objects.filter(
        grader=OuterRef("version__grader"), number__gt=OuterRef("version__number")
    )
    paying = GraderCheck.objects.filter(
        ~Exists(newer),
        Exists(Job.objects.filter(grader_version=OuterRef("version"))),
        version__grader__team=team,
        version__grader__deleted_at=None,
        state=GraderCheck.State.FINISHED,
        results__cheats__contains=[{"warned": True}],
    )
    if not (check := paying.select_related("version__grader__team").order_by("-pk").first()):
        return None
    grader, cheat = check.version.grader, check.warnings[0]["title"]
    return Step(f"Close the loophole of {grader}", f"It rewards a cheat: {cheat}.", grader.get_absolute_url())


def _find_uncalibrated_judge(team: Team, results: Sequence[Result]) -> Step | None:
    version = next((each.job.grader_version for each in results if each.uncalibrated), None)
    if version is None:
        return None
    text = "A judge gave the latest rewards, but nobody has compared it with people's labels."
    url = reverse("judges:card", args=[team.slug, version.uid])
    return Step(f"Calibrate the judge of {version}", text, url)


CONDITIONS: tuple[Callable[[Team, Sequence[Result]], Step | None], ...] = (
    _find_waiting_upload,
    _find_unused_model,
    _find_loophole,
    _find_uncalibrated_judge,
)
