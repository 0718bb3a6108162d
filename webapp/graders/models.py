"""Graders, their immutable versions, their trials on rows, and their checks."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from django.db import models
from django.urls import reverse

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored, SoftDeleted
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.graders.fields import WrittenJSONField
from webapp.registry.models import BaseModel
from webapp.teams.models import Team
from webapp.work.models import WorkItem
from workers import grading
from workers.contract.graders import Grader as Definition

FULL_MARKS = 0.9  # least reward of an answer that should earn full marks


class Grader(Authored, SoftDeleted):
    """A named series of versions."""

    uid = PublicIdField("grader_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="graders")
    name = models.CharField(max_length=120)
    description = models.CharField(max_length=200, blank=True)
    dataset = models.ForeignKey(
        Dataset, models.SET_NULL, null=True, blank=True, related_name="+",
        help_text="rows of checks; none: chosen at each check",
    )  # fmt: skip
    reference_field = models.CharField(
        max_length=200, blank=True, help_text="field of a row with the right answer; empty: guessed"
    )
    full_answer = models.TextField(
        blank=True, help_text="template of an answer that earns full marks; empty: guessed"
    )
    cheat_threshold = models.FloatField(default=0.3, help_text="highest reward of a cheat without a warning")

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("graders:detail", args=[self.team.slug, self.uid])


class GraderVersion(Authored):
    """A grader definition in OpenAI's JSON shape, as its author wrote it; never changes."""

    uid = PublicIdField("graderv_")
    grader = models.ForeignKey(Grader, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    definition = WrittenJSONField()
    sha256 = models.CharField(max_length=64, help_text="hash of the definition's normal form")
    note = models.CharField(max_length=200, blank=True, help_text="what changed, in its author's words")

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["grader", "number"], name="grader_version_numbers_are_unique")
        ]

    def __str__(self) -> str:
        return f"{self.grader.name} v{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("graders:version", args=[self.grader.team.slug, self.grader.uid, self.number])

    @cached_property
    def parsed(self) -> Definition:
        """The validated definition. Raises ``grading.GraderInvalid`` if an older release stored it."""
        return grading.validate(self.definition)


class GraderTrial(Authored, WorkItem):
    """A trial of a grader on rows, in the sandbox; also of an editor's unsaved text."""

    uid = PublicIdField("trial_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="grader_trials")
    grader = models.ForeignKey(Grader, models.SET_NULL, null=True, blank=True, related_name="trials")
    definition = WrittenJSONField()
    dataset_version = models.ForeignKey(
        DatasetVersion, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    base_model = models.ForeignKey(
        BaseModel, models.SET_NULL, null=True, blank=True, help_text="writes the samples, if set"
    )
    second = models.ForeignKey(
        GraderVersion, models.SET_NULL, null=True, blank=True, related_name="+",
        help_text="grades the same answers, to compare",
    )  # fmt: skip
    choices = models.JSONField(default=dict, help_text="values of the form: rows and sources of answers")
    rows = WrittenJSONField(help_text="[{row_id, messages, item}]")
    results = models.JSONField(
        default=list, help_text="[{row, source, number, answer, …GradeResult, second?}], row by row"
    )
    summary = models.JSONField(default=dict, help_text="{answers, mean, errors}")

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"trial {self.uid}"

    def get_absolute_url(self) -> str:
        return reverse("graders:trial", args=[self.team.slug, self.uid])


class GraderTest(Authored):
    """A known answer: the team knows if it is good or bad, and every version must reward it so."""

    class Kind(models.TextChoices):
        GOOD = "good", "Known good"
        BAD = "bad", "Known bad"

    uid = PublicIdField("gradertest_")
    grader = models.ForeignKey(Grader, models.CASCADE, related_name="tests")
    row = models.JSONField(help_text="{row_id, messages, item}")
    answer = models.TextField(blank=True)
    kind = models.CharField(max_length=4, choices=Kind.choices)
    limit = models.FloatField(help_text="a good answer earns at least this, a bad one at most")
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} answer for {self.grader}"

    def passed_by(self, reward: float | None) -> bool:
        """Return True if ``reward`` is as it must be; None, an answer not graded, is not."""
        if reward is None:
            return False
        return reward >= self.limit if self.kind == self.Kind.GOOD else reward <= self.limit


class GraderCheck(WorkItem):
    """A check of a version: its rewards for cheats and for the known answers."""

    version = models.OneToOneField(GraderVersion, models.CASCADE, related_name="check_run")
    dataset_version = models.ForeignKey(
        DatasetVersion, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    results = models.JSONField(default=dict, help_text="{field, threshold, reference, cheats, tests}")

    def __str__(self) -> str:
        return f"check of {self.version}"

    @property
    def warnings(self) -> list[dict[str, object]]:
        """The cheats that this version rewards, as in ``results``."""
        return [cheat for cheat in self.results.get("cheats", []) if cheat["warned"]]

    @property
    def failed_tests(self) -> int:
        """The number of known answers with a wrong reward."""
        return sum(not outcome["passed"] for outcome in self.results.get("tests", {}).values())

    @property
    def low_reference(self) -> bool:
        """True if the answers that should earn full marks earn less than ``FULL_MARKS``, or are not graded.

        A grader that compares answers rewards ranks, so there they must only earn more than a cheat may.
        """
        reference = self.results.get("reference", {})
        if not reference.get("tried"):
            return False
        mean = reference["mean"]
        if mean is None:
            return True
        return bool(mean < (self.results["threshold"] if self.results["relative"] else FULL_MARKS))

    @property
    def findings(self) -> list[tuple[str, str]]:
        """Badges of the most important results, worst first: (kind of badge, text)."""
        counts = [
            ("error", self.failed_tests, "known answer{} scored wrongly"),
            ("error", self.results.get("failures", 0), "answer{} not graded"),
            ("warning", len(self.warnings), "exploit{} rewarded"),
        ]
        badges = [(kind, f"{n} {text.format('' if n == 1 else 's')}") for kind, n, text in counts if n]
        if self.low_reference and self.results["reference"]["graded"]:
            badges.insert(0, ("error", "References score low"))
        if badges:
            return badges
        waiting = self.state == self.State.WAITING_FOR_ROWS
        return [("", "waiting for rows") if waiting else ("success", "checked")]
