"""Labels that people give to answers, and judge cards."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored
from webapp.graders.models import Grader, GraderVersion
from webapp.teams.models import Team, User
from webapp.work.models import WorkItem


class LabelTask(Authored):
    """Answers of one trial for people to label. The labels count for every version of the grader."""

    uid = PublicIdField("labels_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    grader = models.ForeignKey(Grader, models.CASCADE, related_name="label_tasks")
    rows = models.JSONField(help_text="[{row_id, messages, item}]")
    answers = models.JSONField(help_text="[{row, text}], in the order of labelling")

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"labels for {self.grader}"

    def get_absolute_url(self) -> str:
        return reverse("judges:label", args=[self.team.slug, self.uid])


class HumanLabel(models.Model):
    """A person's label of an answer, from 1 (bad) to 5 (good), given without seeing the judge's reward."""

    task = models.ForeignKey(LabelTask, models.CASCADE, related_name="labels")
    answer = models.PositiveIntegerField(help_text="index in the task's answers")
    value = models.PositiveSmallIntegerField()
    labelled_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["answer"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task", "answer"], name="one_label_an_answer"),
            models.CheckConstraint(condition=models.Q(value__gte=1, value__lte=5), name="labels_are_1_to_5"),
        ]

    def __str__(self) -> str:
        return f"{self.value} for answer {self.answer}"


class JudgeCard(Authored, WorkItem):
    """Agreement of a judge and people on labelled answers; never changes once finished."""

    uid = PublicIdField("judgecard_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    grader_version = models.ForeignKey(GraderVersion, models.CASCADE, related_name="judge_cards")
    labels = models.JSONField(help_text="[{text, item, prompt, group, value}], as the card was made")
    results = models.JSONField(default=dict, help_text="statistics, and the judge's rewards by answer")

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"judge card of {self.grader_version}"
