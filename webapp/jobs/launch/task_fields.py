"""The part of the new-job form about several tasks, and about what training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.text import slugify

from webapp.core.input_checks import parse_whole_number
from webapp.datasets.models import DatasetVersion
from webapp.jobs.launch.job_tasks import MAX_TASKS, MAX_WEIGHT, TaskChoice
from webapp.registry.models import TunedModel

PARTS = ("name", "dataset_version", "grader_version", "weight")
COUNT = "tasks"
MORE = "add_task"
STARTS = 50  # adapters in the list; any other is chosen on its own page


@dataclass(frozen=True)
class TaskRow:
    """One task's fields, as the page shows them; the first task's data and grader stand above."""

    number: int
    fields: list[forms.BoundField]


def add_fields(form: forms.Form, data: Any, tasks: Sequence[TaskChoice], starts: Any) -> None:
    """Adds ``start`` and the fields of each task: as many as ``data`` says, or as ``tasks`` has."""
    form.fields["start"] = _start_field(starts, form.initial.get("start"), data)
    count = _count(data) if data else max(len(tasks), 1)
    for number in range(1, count + 1):
        initial = tasks[number - 1] if number <= len(tasks) and len(tasks) > 1 else None
        for part in PARTS if number > 1 else ("name", "weight"):
            field = _field(form, part, initial)
            field.label = f"{field.label or part.capitalize()} of task {number}"
            form.fields[f"task_{number}__{part}"] = field


def _start_field(starts: Any, initial: TunedModel | None, data: Any) -> Any:
    """Takes any adapter of ``starts``; lists the newest, and the one that is chosen."""
    field = forms.ModelChoiceField(
        starts,
        to_field_name="uid",
        required=False,
        label="Start from",
        initial=initial,
        help_text="A tuned model of the team or an uploaded adapter: training goes on from it, with its "
        "rank, alpha and layers, and it is what the result is compared with.",
    )
    listed = dict(starts[: STARTS + 1].values_list("uid", "name"))
    if len(listed) > STARTS:
        listed.popitem()
        field.help_text += (
            f" The newest {STARTS} are listed; for another, find it under Models and press Continue training."
        )
    chosen = str(data.get("start", "")) if data else initial.uid if initial else ""
    if chosen and chosen not in listed:
        listed |= dict(starts.filter(uid=chosen).values_list("uid", "name"))
    if initial and initial.deleted_at:
        field.help_text += f" {initial}, where the other job started, was deleted; restore it to start there."
    field.choices = [("", "the base model"), *listed.items()]
    return field


def _count(data: Any) -> int:
    """Rows that were sent, and one more if it was asked for."""
    count = parse_whole_number(str(data.get(COUNT, "")), 99) or 1
    return max(1, min(MAX_TASKS, count + (MORE in data)))


def _field(form: forms.Form, part: str, initial: TaskChoice | None) -> forms.Field:
    if part == "name":
        return forms.CharField(
            max_length=30, required=False, label="Name", initial=initial and initial.name,
            help_text="Label used in charts and results. Defaults to the dataset name.",
        )  # fmt: skip
    if part == "weight":
        return forms.FloatField(
            min_value=0, max_value=MAX_WEIGHT, required=False, initial=initial.weight if initial else 1,
            widget=forms.NumberInput(attrs={"step": "any"}),
            help_text="Relative share of a step's prompts. Empty: 1.",
        )  # fmt: skip
    first: Any = form.fields[part]
    field = forms.ModelChoiceField(
        first.queryset,
        to_field_name="uid",
        required=False,
        label=first.label,
        initial=initial and getattr(initial, part),
    )
    field.choices = [("", "none"), *(pair for pair in offered(first) if pair[0])]
    return field


def offered(field: Any) -> list[tuple[Any, str]]:
    """The choices of a field; asked of the database once, however many fields share them."""
    if not isinstance(field.choices, list):
        field.choices = [*iter(field.choices)]
    return list(field.choices)


def check(cleaned: dict[str, Any]) -> dict[str, str]:
    """Field -> what is missing, of tasks that have data or a grader but not both."""
    missing: dict[str, str] = {}
    for number in range(2, MAX_TASKS + 1):
        data, grader = f"task_{number}__dataset_version", f"task_{number}__grader_version"
        if cleaned.get(data) and not cleaned.get(grader):
            missing[grader] = "Choose what grades this task."
        if cleaned.get(grader) and not cleaned.get(data):
            missing[data] = "Choose the data of this task."
    return missing


def rows(form: forms.Form) -> list[TaskRow]:
    """The fields of every task."""
    shown: list[TaskRow] = []
    for number in range(1, MAX_TASKS + 1):
        names = [name for part in PARTS if (name := f"task_{number}__{part}") in form.fields]
        if names:
            shown.append(TaskRow(number, [form[name] for name in names]))
    return shown


def chosen(values: dict[str, Any]) -> list[TaskChoice]:
    """The tasks that are filled in; one alone has no name, and makes a job without tasks."""
    first = (values["dataset_version"], values["grader_version"])
    picked = [(1, *first)] + [
        (number, version, grader)
        for number in range(2, MAX_TASKS + 1)
        if (version := values.get(f"task_{number}__dataset_version"))
        and (grader := values.get(f"task_{number}__grader_version"))
    ]
    if len(picked) == 1:
        return [TaskChoice("", *first)]
    return [
        TaskChoice(_name(values, number, version), version, grader, _weight(values, number))
        for number, version, grader in picked
    ]


def _name(values: dict[str, Any], number: int, version: DatasetVersion) -> str:
    given = str(values.get(f"task_{number}__name") or "").strip()
    return given or slugify(version.dataset.name)[:30] or f"task-{number}"


def _weight(values: dict[str, Any], number: int) -> float:
    weight = values.get(f"task_{number}__weight")
    return 1.0 if weight is None else float(weight)


def offered_starts(team: Any) -> Any:
    """Adapters of the team that a job can go on from."""
    return TunedModel.objects.filter(team=team, deleted_at=None).select_related("base_model").order_by("-id")
