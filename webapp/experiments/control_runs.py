"""Control runs: jobs with the data of an RFT job, trained on demonstrations or on random rewards."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from webapp.jobs.launch.job_tasks import choices_of
from webapp.jobs.launch.suites import choices_of as suites_of
from webapp.jobs.launch.suites import launch_with_suites
from webapp.jobs.models import Job, Rollout
from webapp.jobs.services import SettingsInvalid, WrongState
from webapp.jobs.states import State
from webapp.teams.models import User
from webapp.teams.services import record_event
from workers.contract.methods import METHODS
from workers.contract.spec import EvaluationSettings
from workers.grading.template import Reference, TemplateInvalid, parse_template

ACCEPTED, TEMPLATE = "accepted", "template"
OVER = (State.FAILED, State.CANCELLED)
NO_ACCEPTED = (
    "No rollout of this job reached the pass threshold, so there is nothing to show. Write a template over "
    "the rows' fields instead."
)


@dataclass(frozen=True)
class Source:
    """Where an SFT run's demonstrations come from, and how it learns them (``contract.spec.SftSettings``)."""

    source: str = ACCEPTED
    template: str = ""
    learning_rate: float = 2e-4
    epochs: int = 3
    batch_size: int = 16

    def as_json(self) -> dict[str, Any]:
        """As ``Job.sft``."""
        return {
            "source": self.source,
            "template": self.template,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
        }


@transaction.atomic
def launch_control_run(job: Job, user: User, method: str, source: Source | None = None) -> Job:
    """Launch a control run: base, data, graders, seed, evaluation and suites are the job's own.

    Raises ``WrongState`` unless the job is an RFT job that has succeeded and has no such control run yet, and
    ``SettingsInvalid`` where there are no demonstrations or a grader may no longer be used.
    """
    Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if reason := refusal(job):
        raise WrongState(reason)
    sft = _sft(job, source or Source()) if method == "sft" else None
    if present(job, method, sft):
        raise WrongState("This control run is there already.")
    made = launch_with_suites(
        job.team,
        user,
        suites=suites_of(job),
        name=f"{job.name[:90]}: {METHODS[method].label} control run",
        base_model=job.base_model,
        tasks=choices_of(job),
        settings=_settings(job),
        start=job.start,
    )
    made.method, made.control_of, made.sft = method, job, sft
    if sft:
        made.total_steps = ceil(_demonstrations(job, sft) / sft["batch_size"]) * sft["epochs"]
    made.save(update_fields=["method", "control_of", "sft", "total_steps"])
    record_event(job.team, user, f"launched {METHODS[method].label} control run", made)
    return made


def refusal(job: Job) -> str:
    """Return why the job can have no control runs; empty if it can."""
    if job.method != "rft":
        return "A control run has no control runs of its own. Launch them from its RFT job."
    if job.state != State.SUCCEEDED:
        return "Control runs start once the job has succeeded."
    return ""


def present(job: Job, method: str, sft: dict[str, Any] | None = None) -> bool:
    """True if such a control run exists and has not failed."""
    alike = Q(sft__isnull=True) if sft is None else Q(sft=sft)
    return control_runs_of(job).filter(alike, method=method).exists()


def control_runs_of(job: Job) -> QuerySet[Job]:
    """The job's control runs that neither failed nor were cancelled."""
    return job.control_runs.filter(promoted_step=None, deleted_at=None).exclude(state__in=OVER).order_by("pk")


def root_of(job: Job) -> Job:
    """The RFT job of a control run, or the job itself."""
    return job.control_of or job


def accepted(job: Job) -> QuerySet[Rollout]:
    """Of every row the best rollout that passed and was finished; of equals the earliest.

    The earliest is nearest to what the base would write, which costs least in forgetting.
    """
    threshold = EvaluationSettings.model_validate(job.settings.get("evaluation", {})).pass_threshold
    passed = job.rollouts.filter(reward__gte=threshold, truncated=False)
    return passed.order_by("row_id", "-reward", "step", "index").distinct("row_id")


def _settings(job: Job) -> dict[str, Any]:
    """The job's own, without a preflight: what it would advise is known. An early end counts, too."""
    settings: dict[str, Any] = job.settings
    if job.finished_early:
        settings = settings | {"grpo": settings["grpo"] | {"max_steps": job.step}}
    return settings | {"preflight": settings.get("preflight", {}) | {"rows": 0}}


def _sft(job: Job, source: Source) -> dict[str, Any]:
    if source.source == TEMPLATE:
        if problem := template_problem(source.template):
            raise SettingsInvalid({"template": problem})
    elif not accepted(job).exists():
        raise SettingsInvalid({"source": NO_ACCEPTED})
    return source.as_json()


def template_problem(text: str) -> str:
    """What is wrong with a template for demonstrations; empty if nothing is."""
    try:
        pieces = parse_template(text.strip()).pieces
    except TemplateInvalid as error:
        return str(error)
    references = [piece for piece in pieces if isinstance(piece, Reference)]
    if not references:
        return "It names no field of the row, so every demonstration would be the same: {{item.answer}}."
    if any(reference.namespace != "item" for reference in references):
        return "A demonstration is made of the row alone: use item, not sample."
    return ""


def _demonstrations(job: Job, sft: dict[str, Any]) -> int:
    """How many there will be."""
    if sft["source"] == ACCEPTED:
        return accepted(job).count()
    return sum(int(task.dataset_version.files["train"]["rows"]) for task in choices_of(job))
