"""Control runs: jobs with an RFT job's data, trained by another method."""

from __future__ import annotations

from math import ceil

from django.db import transaction
from django.db.models import Q, QuerySet

from webapp.jobs.errors import SettingsInvalid, WrongState
from webapp.jobs.launch.request import JobRequest, suite_choices, task_choices
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job, Rollout
from webapp.jobs.models.job import SftSource
from webapp.jobs.states import State
from webapp.teams.models import User
from workers.contract.methods import METHODS
from workers.contract.schema import Frozen
from workers.contract.spec import JobSettings
from workers.grading.template import Reference, TemplateInvalid, parse_template

ACCEPTED, TEMPLATE = "accepted", "template"
FAILED = (State.FAILED, State.CANCELLED)
NO_ACCEPTED = (
    "No rollout of this job reached the pass threshold, so there are no demonstrations. Write a template "
    "over the rows' fields instead."
)


@transaction.atomic
def launch_control_run(job: Job, user: User, method: str, source: SftSource | None = None) -> Job:
    """Launch a control run: base, data, graders, seed, evaluation and suites are the job's own.

    Raises ``WrongState`` unless the job is an RFT job that has succeeded and has no such control run yet, and
    ``SettingsInvalid`` where there are no demonstrations or a grader may no longer be used.
    """
    Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if reason := explain_refusal(job):
        raise WrongState(reason)
    sft = _check_source(job, source or SftSource()) if METHODS[method].needs_demonstrations else None
    if has_control_run(job, method, sft):
        raise WrongState("This control run exists already.")
    return launch(
        JobRequest(
            team=job.team,
            user=user,
            name=f"{job.name[:90]}: {METHODS[method].label} control run",
            base_model=job.base_model,
            tasks=task_choices(job),
            settings=_settings_without_preflight(job),
            suites=suite_choices(job),
            initial_adapter=job.initial_adapter,
            method=method,
            sft=sft,
            control_of=job,
            total_steps=ceil(_count_demonstrations(job, sft) / sft.batch_size) * sft.epochs if sft else None,
        )
    )


def explain_refusal(job: Job) -> str:
    """Return why control runs cannot be launched for the job; empty if they can."""
    if job.method != "rft":
        return "A control run cannot have control runs. Launch them from its RFT job."
    if job.state != State.SUCCEEDED:
        return "Control runs can be launched once the job has succeeded."
    return ""


def has_control_run(job: Job, method: str, sft: SftSource | None = None) -> bool:
    """Return True if such a control run exists and has not failed."""
    alike = Q(sft__isnull=True) if sft is None else Q(sft=sft.model_dump())
    return list_control_runs(job).filter(alike, method=method).exists()


def list_control_runs(job: Job) -> QuerySet[Job]:
    """Return the job's control runs that neither failed nor were cancelled."""
    return job.control_runs.alive().filter(promoted_step=None).exclude(state__in=FAILED).order_by("pk")


def find_root(job: Job) -> Job:
    """Return the RFT job of a control run, or the job itself."""
    return job.control_of or job


def select_accepted(job: Job) -> QuerySet[Rollout]:
    """Return the best passed and complete rollout of each row of a single turn; of equals the earliest.

    The earliest is nearest to what the base would write, which costs least in forgetting.
    """
    threshold = job.settings.evaluation.pass_threshold
    passed = job.rollouts.filter(reward__gte=threshold, truncated=False, ended="")
    return passed.order_by("row_id", "-reward", "step", "index").distinct("row_id")


def _settings_without_preflight(job: Job) -> JobSettings:
    """The job's settings with the steps that it trained, without a second preflight."""
    settings = job.settings
    changes: dict[str, Frozen] = {"preflight": settings.preflight.model_copy(update={"rows": 0})}
    if job.finished_early:
        changes["grpo"] = settings.grpo.model_copy(update={"max_steps": job.step})
    return settings.model_copy(update=changes)


def _check_source(job: Job, source: SftSource) -> SftSource:
    """Return the source. Raises ``SettingsInvalid`` where it gives no demonstrations."""
    if source.source == TEMPLATE:
        if problem := find_template_problem(source.template):
            raise SettingsInvalid({"template": problem})
    elif not select_accepted(job).exists():
        raise SettingsInvalid({"source": NO_ACCEPTED})
    return source


def find_template_problem(text: str) -> str:
    """Return what is wrong with a template for demonstrations; empty if nothing is."""
    try:
        pieces = parse_template(text.strip()).pieces
    except TemplateInvalid as error:
        return str(error)
    references = [piece for piece in pieces if isinstance(piece, Reference)]
    if not references:
        return "The template uses no field of the row: all completions would be equal. Use {{item.answer}}."
    if any(reference.namespace != "item" for reference in references):
        return "A demonstration can use only fields of the row: write item, not sample."
    return ""


def _count_demonstrations(job: Job, sft: SftSource) -> int:
    if sft.source == ACCEPTED:
        return select_accepted(job).count()
    return sum(int(task.dataset_version.files["train"]["rows"]) for task in task_choices(job))
