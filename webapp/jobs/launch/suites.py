"""The suites of a job: chosen at the launch, scored while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from webapp.core.fields import storable
from webapp.datasets.models import DatasetVersion
from webapp.graders.definitions import required_fields
from webapp.graders.models import GraderVersion
from webapp.jobs.launch.job_tasks import launch_job
from webapp.jobs.models import Job, JobSuite, SuiteScore
from webapp.jobs.services import SettingsInvalid, grader_conditions
from webapp.teams.models import Team, User
from workers.contract.events import RetentionEvent
from workers.starter.suites import SUITES

MAX_SUITES = 16


@dataclass(frozen=True)
class SuiteChoice:
    """A suite as it was chosen: a built-in one by its key, or rows and a grader of the team."""

    name: str
    built_in: str = ""
    dataset_version: DatasetVersion | None = None
    grader_version: GraderVersion | None = None
    max_loss: float | None = None


@transaction.atomic
def launch_with_suites(team: Team, user: User | None, *, suites: Sequence[SuiteChoice], **others: Any) -> Job:
    """``webapp.jobs.launch.job_tasks.launch_job`` with suites. Raises ``SettingsInvalid``."""
    if problems := _problems(suites):
        raise SettingsInvalid(problems)
    job = launch_job(team, user, **others)
    JobSuite.objects.bulk_create(
        JobSuite(
            job=job,
            position=position,
            name=suite.name,
            built_in=suite.built_in,
            dataset_version=suite.dataset_version,
            grader_version=suite.grader_version,
            max_loss=suite.max_loss,
        )
        for position, suite in enumerate(suites)
    )
    return job


def _problems(suites: Sequence[SuiteChoice]) -> dict[str, str]:
    """Place -> what is wrong."""
    problems: dict[str, str] = {}
    if len(suites) > MAX_SUITES:
        problems["suites"] = f"A job has at most {MAX_SUITES} suites."
    for suite in suites:
        if reason := _unusable(suite):
            problems[f"suite {suite.name}"] = reason
    return problems


def _unusable(suite: SuiteChoice) -> str:
    """Why this suite cannot be scored; empty if it can."""
    if suite.built_in:
        return "" if suite.built_in in SUITES else f"There is no built-in suite {suite.built_in!r}."
    assert suite.dataset_version, f"{suite.name} has neither rows nor a built-in suite"
    assert suite.grader_version, f"{suite.name} has rows without a grader"
    if not suite.dataset_version.files["validation"]["rows"]:
        return (
            f"{suite.dataset_version} has no validation rows, which a suite is made of: upload it with some."
        )
    unmet = " ".join(grader_conditions(suite.grader_version))
    return unmet or required_fields.find_refusal(suite.grader_version, suite.dataset_version)


def choices_of(job: Job) -> list[SuiteChoice]:
    """The job's suites, to choose them again."""
    suites = job.suites.select_related("dataset_version__dataset", "grader_version__grader")
    return [SuiteChoice(s.name, s.built_in, s.dataset_version, s.grader_version, s.max_loss) for s in suites]


def record_retention(job: Job, event: RetentionEvent) -> SuiteScore:
    """Store one score; the same one again replaces it. Call it in a transaction, holding the job."""
    values = event.model_dump(mode="json", exclude={"type", "time", "suite", "stage", "step", "judge_cost"})
    score, _ = SuiteScore.objects.update_or_create(
        job=job, suite=storable(event.suite), stage=event.stage, step=event.step, defaults=values
    )
    return score
