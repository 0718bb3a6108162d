"""How long a job will take, phase by phase: measured on earlier jobs, scaled by the work of this one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.db.models import Avg, FloatField, prefetch_related_objects
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast

from webapp.datasets.models import DatasetVersion
from webapp.jobs.models import Job, JobEvent, Metric
from webapp.jobs.models.job import JobEstimate
from webapp.jobs.monitor.phases import NAMES, PHASES, sum_durations
from webapp.jobs.states import State
from webapp.registry.models import BaseModel
from workers.contract.methods import METHODS
from workers.contract.spec import JobSettings
from workers.contract.workload import Workload
from workers.starter.suites import SUITES

Units = dict[str, float]
REFERENCES = 6  # earlier jobs that are measured
TIMED_STEPS = 300
# Shares of the time that a training step takes for one answer, where nothing else has been measured.
SAMPLED, SCORED = 0.4, 0.3
BY_LENGTH = ("preflight", "train", "evaluate")  # phases whose time grows with the answers
PREPARE_SECONDS, PACKAGE_SECONDS = 10.0, 20.0


@dataclass(frozen=True)
class Plan:
    """What an estimate depends on. ``rows`` are the files of each task: split -> {rows}."""

    base_model: BaseModel
    settings: JobSettings
    rows: Sequence[dict[str, Any]]
    suites: Sequence[int]
    steps: int
    method: str = "rft"

    @property
    def answers(self) -> int:
        """Answers of one training step."""
        return self.settings.grpo.rollouts_per_step


@dataclass(frozen=True)
class Estimate:
    """Seconds by phase. ``jobs`` earlier jobs were measured; 0 if only the time of a step is known.

    ``repeated`` is True if they had the same settings and the same number of rows.
    """

    phases: dict[str, float]
    jobs: int = 0
    repeated: bool = False

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())

    @property
    def named_phases(self) -> list[tuple[str, float]]:
        """(name, seconds) of every phase, as the job's page names them."""
        return [(NAMES[phase], seconds) for phase, seconds in self.phases.items()]

    def for_job(self) -> JobEstimate:
        """The estimate as its job keeps it."""
        return JobEstimate(seconds=self.seconds, phases=self.phases, jobs=self.jobs)


def plan_job(job: Job) -> Plan:
    """The plan of a job that has been created."""
    suites = [count_suite_rows(suite.built_in, suite.dataset_version) for suite in job.suites.all()]
    versions = [task.dataset_version for task in job.tasks.all()]
    own = [job.dataset_version] if job.dataset_version else []
    rows = [version.files for version in versions or own]
    return Plan(job.base_model, job.settings, rows, suites, job.total_steps, job.method)


def count_suite_rows(built_in: str, version: DatasetVersion | None) -> int:
    """Rows of a suite: a built-in one's, or the validation rows of a dataset."""
    if version is not None:
        return int(version.files["validation"]["rows"])
    return SUITES[built_in].file.rows if built_in in SUITES else 0


@dataclass(frozen=True)
class Reference:
    """An earlier job: seconds of its completed phases, its answers' mean length and share cut."""

    plan: Plan
    seconds: dict[str, float]
    node: str
    length: float | None = None
    truncated: float = 0.0

    def predict(self, phase: str, plan: Plan) -> float | None:
        """Seconds of ``phase`` in a job of this plan, by this job's speed; None where it tells nothing."""
        own, other = count_units(self.plan)[phase], count_units(plan)[phase]
        if phase not in self.seconds or not own:
            return None if phase not in self.seconds or other else 0.0
        return self.seconds[phase] * other / own * (self._length_ratio(plan) if phase in BY_LENGTH else 1.0)

    def _length_ratio(self, plan: Plan) -> float:
        """How much longer answers will be under the plan's limit: cut ones grow with it, none exceeds it."""
        old, new = (each.settings.grpo.max_completion_length for each in (self.plan, plan))
        if not self.length:
            return 1.0
        longer = 1 + self.truncated * (new / old - 1) if new > old else 1.0
        return min(self.length, new) / self.length * longer


def estimate(plan: Plan, nodes: Sequence[str] = ()) -> Estimate | None:
    """The whole job on one of these nodes. None where no job on this base model has taken a step yet."""
    found = find_references(plan)
    repeated = [each for each in found if _is_repeat(each.plan, plan)]
    measured = repeated or found
    measured = [each for each in measured if each.node in nodes] or measured
    complete = any(all(each.predict(phase, plan) is not None for phase in PHASES) for each in measured)
    step = None if complete or not METHODS[plan.method].samples else seconds_per_answer(plan.base_model)
    phases: dict[str, float] = {}
    for phase, fallback in _estimate_by_step(plan, step).items():
        known = [value for each in measured if (value := each.predict(phase, plan)) is not None]
        if not known and fallback is None:
            return None
        phases[phase] = median(known) if known else fallback or 0.0
    return Estimate(phases, len(measured), bool(repeated))


def _is_repeat(old: Plan, new: Plan) -> bool:
    return count_units(old) == count_units(new) and all(
        getattr(old.settings, section) == getattr(new.settings, section)
        for section in ("grpo", "lora", "evaluation")
    )


def _estimate_by_step(plan: Plan, step: float | None) -> dict[str, float | None]:
    """Phase -> seconds by the time of a training step alone, given per answer."""
    units = count_units(plan)
    rough: dict[str, float | None] = {"prepare": PREPARE_SECONDS, "package": PACKAGE_SECONDS}
    for phase, share in {"preflight": SAMPLED, "train": 1.0, "evaluate": SAMPLED}.items():
        rough[phase] = None if step is None else units[phase] * share * step
    return {phase: rough[phase] for phase in PHASES}


def count_units(plan: Plan) -> Units:
    """Phase -> its work, in units that cost alike within the phase."""
    work = _workload(plan)
    before, after, whole = work.before_training(), work.after_training(), work.remaining_after(0)
    sampled = sum((part.completions + part.suite_completions) * sign for part, sign in
                  ((whole, 1), (before, -1), (after, -1)))  # fmt: skip
    scored = whole.drift_completions - after.drift_completions
    return {
        "prepare": 1.0,
        "preflight": float(before.completions + before.suite_completions),
        "train": plan.steps * (plan.answers if METHODS[plan.method].samples else 1)
        + SAMPLED * sampled
        + SCORED * scored,
        "evaluate": after.completions + after.suite_completions + SCORED / SAMPLED * after.drift_completions,
        "package": 1.0,
    }


def _workload(plan: Plan) -> Workload:
    evaluation = plan.settings.evaluation

    def rows(split: str, most: int) -> int:
        return sum(min(int(files[split]["rows"]), most) for files in plan.rows)

    tested = rows("test", evaluation.max_rows)
    return Workload(
        evaluation,
        plan.settings.preflight,
        plan.settings.grpo.group_size,
        plan.steps,
        train=sum(int(files["train"]["rows"]) for files in plan.rows),
        validation=rows("validation", evaluation.validation_max_rows),
        final=tested or rows("validation", evaluation.max_rows),
        suites=list(plan.suites),
        has_preflight=METHODS[plan.method].has_preflight,
    )


# --- earlier jobs ----------------------------------------------------------------------------------


def find_references(plan: Plan) -> list[Reference]:
    """The latest jobs of this base model, method and devices that ran through without a break."""
    jobs = Job.objects.filter(
        base_model=plan.base_model,
        settings__resources__device=plan.settings.resources.device,
        settings__resources__gpus=plan.settings.resources.gpus,
        settings__resources__cpu_cores=plan.settings.resources.cpu_cores,
        attempt=1,
        promoted_step=None,
        finish_early=False,
        method__in=[each.id for each in METHODS.values() if each.samples == METHODS[plan.method].samples],
    ).exclude(phase="")
    latest = list(jobs.select_related("base_model", "dataset_version").order_by("-pk")[:REFERENCES])
    events: dict[int, list[JobEvent]] = defaultdict(list)
    for event in JobEvent.objects.filter(job__in=latest, kind__in=("phase", "state")).order_by("pk"):
        events[event.job_id].append(event)
    told = [job for job in latest if events[job.pk]]
    prefetch_related_objects(told, "tasks__dataset_version", "suites__dataset_version")
    lengths = _mean_lengths(told) if told else {}
    return [_reference(job, events[job.pk], lengths.get(job.pk)) for job in told]


def _mean_lengths(jobs: list[Job]) -> dict[int, tuple[float | None, float]]:
    """Job -> mean tokens of its rollouts, and the share of them that was cut."""

    def mean(name: str) -> Avg:
        return Avg(Cast(KeyTextTransform(f"completions/{name}", "values"), FloatField()))

    rows = Metric.objects.filter(job__in=jobs).order_by().values("job")
    found = rows.annotate(length=mean("mean_length"), cut=mean("truncated_share"))
    return {row["job"]: (row["length"], row["cut"] or 0.0) for row in found}


def _reference(job: Job, events: list[JobEvent], lengths: tuple[float | None, float] | None) -> Reference:
    spent = sum_durations([(each.created_at, each.kind, each.data) for each in events], events[-1].created_at)
    if job.state != State.SUCCEEDED:
        spent.pop(job.phase, None)  # it was broken off, or goes on
    nodes = [each.data["node"] for each in events if "node" in each.data]
    return Reference(plan_job(job), spent, nodes[-1] if nodes else "", *(lengths or (None, 0.0)))


def seconds_per_answer(base_model: BaseModel) -> float | None:
    """Median step time by answers of the step, over this base model's earlier jobs; None without any."""
    size, prompts = "job__settings__grpo__group_size", "job__settings__grpo__prompts_per_step"
    rows = (
        Metric.objects.filter(job__base_model=base_model, values__has_key="step_time")
        .filter(job__method__in=[method.id for method in METHODS.values() if method.samples])
        .order_by("-id")
        .values_list("values__step_time", size, prompts)[:TIMED_STEPS]
    )
    known = [time / (group * each) for time, group, each in rows if group and each]
    return median(known) if known else None
