"""Jobs, their tasks and their events."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import OuterRef, Prefetch, Q, Subquery
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.text import slugify

from webapp.core.fields import PublicIdField, pydantic_field
from webapp.core.models import Authored, SoftDeleted, SoftDeletedQuerySet
from webapp.datasets.models import DatasetVersion
from webapp.environments.models import EnvironmentVersion
from webapp.graders.models import GraderVersion
from webapp.jobs.states import TERMINAL, State
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.services import build_tuned_name
from webapp.teams.models import Team, User
from webapp.work.models import Leased, Node
from workers.contract.devices import GivenDevices
from workers.contract.events import PreflightEvent
from workers.contract.json_types import JsonObject
from workers.contract.methods import METHODS, Method
from workers.contract.schema import Frozen
from workers.contract.spec import JobSettings

NAME_IN_MODEL = 18  # characters of the job's name, unless a suffix was asked for
TASK_VERSIONS = (
    "dataset_version__dataset__team", "grader_version__grader", "environment_version__environment__team",
)  # fmt: skip


class Pin(models.TextChoices):
    """Kinds of pins."""

    PINNED = "pinned", "Pinned"
    BASELINE = "baseline", "Baseline"


class SftSource(Frozen):
    """Source of an SFT job's demonstrations, and its settings (``spec.SftSettings``)."""

    source: str = "accepted"
    template: str = ""
    learning_rate: float = 2e-4
    epochs: int = 3
    batch_size: int = 16


class JobProgress(Frozen):
    """The newest ``contract.events.ProgressEvent``, and when it arrived in seconds since 1970."""

    phase: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    eta_seconds: float | None = None
    at: float = 0.0


class JobEstimate(Frozen):
    """The launch estimate: seconds by phase, measured on ``jobs`` earlier jobs."""

    seconds: float
    phases: dict[str, float]
    jobs: int = 0


class JobQuerySet(SoftDeletedQuerySet["Job"]):
    """A query of jobs for live pages."""

    def with_cursor(self) -> JobQuerySet:
        """Add ``cursor``, the id of the newest event, read with the row.

        If it were read later, it could be newer than the row: the page would show the older state, and its
        live stream would begin after the change.
        """
        newest = JobEvent.objects.filter(job=OuterRef("pk")).order_by("-pk").values("pk")[:1]
        return self.annotate(cursor=Coalesce(Subquery(newest), 0))


class Job(Authored, SoftDeleted, Leased):
    """A training job: RFT, one of its control runs, or the promotion of a checkpoint."""

    uid = PublicIdField("ftjob-")
    team = models.ForeignKey(Team, models.CASCADE, related_name="jobs")
    name = models.CharField(max_length=120)
    tags = ArrayField(models.CharField(max_length=30), default=list, blank=True)
    notes = models.TextField(blank=True, help_text="plain text")
    pin = models.CharField(max_length=10, blank=True, choices=Pin.choices)
    ticket = models.CharField(max_length=22, blank=True, help_text="of the launch form; used once")
    cloned_from = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="clones")

    model_name = models.CharField(
        max_length=255, blank=True, db_index=True, help_text="of the model that it makes; set once"
    )
    base_model = models.ForeignKey(BaseModel, models.PROTECT, related_name="jobs")
    dataset_version = models.ForeignKey(
        DatasetVersion, models.PROTECT, null=True, related_name="jobs", help_text="null: RowBuild makes it"
    )
    grader_version = models.ForeignKey(GraderVersion, models.PROTECT, related_name="jobs")
    environment_version = models.ForeignKey(
        EnvironmentVersion, models.PROTECT, null=True, blank=True, related_name="jobs",
        help_text="that the rows are played in; without one a rollout is one completion",
    )  # fmt: skip
    held_out_grader = models.ForeignKey(
        GraderVersion, models.PROTECT, null=True, blank=True, related_name="watched_jobs",
        help_text="grades rollouts for the reward-hacking alarms; never trained against",
    )  # fmt: skip
    initial_adapter = models.ForeignKey(
        TunedModel, models.PROTECT, null=True, blank=True, related_name="continued_by",
        help_text="the adapter that training continues from; without one it starts from the base model",
    )  # fmt: skip
    interference_of = models.ForeignKey(
        "self", models.CASCADE, null=True, blank=True, related_name="interference_runs",
        help_text="the job of which this one trains some tasks, to measure interference",
    )  # fmt: skip
    method = models.CharField(
        max_length=10, default="rft", help_text="a key of workers.contract.methods.METHODS"
    )
    control_of = models.ForeignKey(
        "self", models.CASCADE, null=True, blank=True, related_name="control_runs",
        help_text="the job that this one is compared with",
    )  # fmt: skip
    sft: SftSource | None = pydantic_field(SftSource, null=True, blank=True)
    settings: JobSettings = pydantic_field(JobSettings)

    metadata = models.JSONField(default=dict, blank=True, help_text="texts by key, set by API callers")
    asked: models.JSONField[JsonObject, JsonObject] = models.JSONField(
        default=dict, blank=True, help_text="the API request that made it; empty for a page's job"
    )
    result_file = models.CharField(max_length=64, blank=True, help_text="id of the file of its results")
    reported_step = models.PositiveIntegerField(
        default=0, help_text="last step with a step event; stays when an attempt repeats steps"
    )

    state = models.CharField(max_length=20, choices=State.choices, default=State.VALIDATING_FILES)
    finish_early = models.BooleanField(
        default=False, help_text="end training at the next step boundary, in this and every later attempt"
    )
    promoted_from = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="promotions",
        help_text="the job whose checkpoint this one makes a model of, without further training",
    )  # fmt: skip
    promoted_step = models.PositiveIntegerField(null=True, blank=True, help_text="of that checkpoint")
    stop_requested = models.CharField(max_length=10, blank=True, help_text="'', 'pause' or 'cancel'")
    phase = models.CharField(max_length=20, blank=True)
    step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    judge_cost = models.JSONField(default=dict, help_text="money spent so far, by judge")
    progress: JobProgress = pydantic_field(JobProgress, default=JobProgress)
    estimate: JobEstimate | None = pydantic_field(JobEstimate, null=True, blank=True)

    events_end = models.BigIntegerField(default=0, help_text="recorded bytes of the attempt's event file")
    preflight: PreflightEvent | None = pydantic_field(PreflightEvent, null=True, blank=True)
    overruled_by = models.ForeignKey(
        User,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="continued against its advice",
    )
    node = models.ForeignKey(Node, models.SET_NULL, null=True, blank=True, related_name="jobs")
    devices: GivenDevices = pydantic_field(GivenDevices, default=GivenDevices)

    queued_at = models.DateTimeField(null=True, blank=True)
    train_seconds = models.FloatField(default=0)
    tuned_model = models.OneToOneField(TunedModel, models.SET_NULL, null=True, blank=True, related_name="job")

    objects: ClassVar = JobQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["queued_at"], name="job_queue", condition=models.Q(state__in=["queued", "running"])
            ),
            models.Index(fields=["team", "-id"], name="job_of_team"),
            GinIndex(fields=["tags"], name="job_tags"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["team"], name="one_baseline_per_team", condition=Q(pin=Pin.BASELINE)
            ),
            models.UniqueConstraint(
                fields=["team", "ticket"], name="one_job_of_a_form", condition=~Q(ticket="")
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.model_name:
            self.model_name = build_tuned_name(self.base_model, self.team, slugify(self.name)[:NAME_IN_MODEL])
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        return reverse("jobs:detail", args=[self.team.slug, self.uid])

    @property
    def training_method(self) -> Method:
        """The description of the job's method."""
        return METHODS[self.method]

    @cached_property
    def loaded_tasks(self) -> list[JobTask]:
        """Its tasks with their data and graders, read once: they do not change after the launch."""
        return list(self.tasks.select_related(*TASK_VERSIONS))

    @property
    def graded_parts(self) -> list[Job | JobTask]:
        """The objects that have rows and a grader: the tasks, or the job itself if it has none."""
        return [*self.loaded_tasks] or [self]

    @property
    def live(self) -> bool:
        """True unless the job has ended."""
        return self.state not in TERMINAL

    @property
    def may_finish_early(self) -> bool:
        """True if training runs or can be resumed, so that it can be ended early."""
        if self.finish_early or self.promoted_step is not None or self.phase in ("evaluate", "package"):
            return False
        return self.state == State.RUNNING or (self.state == State.PAUSED and self.step > 0)

    @property
    def finished_early(self) -> bool:
        """True if the job trained fewer steps than planned because somebody ended it early."""
        ended = self.state == State.SUCCEEDED and self.promoted_step is None
        return ended and 0 < self.step < self.total_steps

    @property
    def seconds_left(self) -> float:
        """Estimated seconds to the end of a running job; 0 if unknown or if the job is late."""
        return max(self._seconds_left() or 0.0, 0.0)

    @property
    def is_late(self) -> bool:
        """True for a running job that has taken longer than its newest estimate."""
        left = self._seconds_left()
        return left is not None and left <= 0

    def _seconds_left(self) -> float | None:
        """The engine's newest estimate minus the time since; before it, the launch estimate."""
        if self.state != State.RUNNING:
            return None
        now = timezone.now()
        if self.progress.eta_seconds is not None:
            return self.progress.eta_seconds - (now.timestamp() - self.progress.at)
        if self.estimate and self.attempt == 1 and self.started_at:
            return float(self.estimate.seconds - (now - self.started_at).total_seconds())
        return None

    @property
    def base_label(self) -> str:
        """Label of the model that the tuned one is compared with."""
        return "Initial" if self.initial_adapter_id else "Base"


class JobTask(models.Model):
    """One of several tasks of a job. The job itself has data and grader of the first, too."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="tasks")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=30)
    dataset_version = models.ForeignKey(DatasetVersion, models.PROTECT, related_name="job_tasks")
    grader_version = models.ForeignKey(GraderVersion, models.PROTECT, related_name="job_tasks")
    environment_version = models.ForeignKey(
        EnvironmentVersion, models.PROTECT, null=True, blank=True, related_name="job_tasks",
        help_text="that the rows are played in; without one a rollout is one completion",
    )  # fmt: skip
    weight = models.FloatField(default=1, help_text="relative share of a step's prompts")

    class Meta:
        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "name"], name="one_task_of_a_name_per_job")
        ]

    def __str__(self) -> str:
        return self.name


def prefetch_loaded_tasks() -> Prefetch[str, models.QuerySet[JobTask], str]:
    """Return the prefetch that fills ``Job.loaded_tasks`` of many jobs by one query."""
    return Prefetch("tasks", JobTask.objects.select_related(*TASK_VERSIONS), to_attr="loaded_tasks")


class JobEvent(models.Model):
    """An event of a job. Its id is the cursor of the live stream; ``data`` depends on the kind."""

    uid = PublicIdField("ftevent-")
    job = models.ForeignKey(Job, models.CASCADE, related_name="events")
    attempt = models.PositiveIntegerField()
    kind = models.CharField(
        max_length=20,
        help_text="state, request, phase, progress, metrics, rollouts, checkpoint, evaluation, alarm, log, "
        "error, rewind; for the API only: created, validating, step, model",
    )
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["job", "id"], name="events_of_job")]

    def __str__(self) -> str:
        return f"{self.kind} {self.data}"
