"""Repeated parts of the new-job form: the tasks that share an adapter, and the suites that score it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.text import slugify

from webapp.core.input_checks import parse_whole_number
from webapp.datasets.models import DatasetVersion
from webapp.environments.models import EnvironmentVersion
from webapp.graders.models import GraderVersion
from webapp.jobs.launch.request import SuiteChoice, TaskChoice
from webapp.jobs.launch.service import MAX_TASKS, MAX_WEIGHT

TASKS, SUITES = "tasks", "suites"  # prefixes of the formsets
ADD_TASK, ADD_SUITE = "add_task", "add_suite"  # names of the buttons
MAX_SUITE_ROWS = 8
MAX_LOSS_HELP = "Maximum allowed drop (upper 95% bound). Leave empty to measure without blocking."


class RowForm(forms.Form):
    """One row: a dataset version and its grader, from the choices of the form's own fields."""

    without_grader = "Choose what grades these rows."
    without_rows = "Choose the rows."

    def __init__(self, *args: Any, choices: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, source in choices.items():
            self.fields[name] = _copy_choices(source)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        version, grader = cleaned.get("dataset_version"), cleaned.get("grader_version")
        if version and not grader and "grader_version" in self.fields:
            self.add_error("grader_version", self.without_grader)
        if grader and not version and "dataset_version" in self.fields:
            self.add_error("dataset_version", self.without_rows)
        return cleaned

    @property
    def values(self) -> dict[str, Any]:
        """What each field holds: what was sent, where it is valid; otherwise what it started with."""
        initial = {name: self.get_initial_for_field(field, name) for name, field in self.fields.items()}
        if not self.is_bound:
            return initial
        self.is_valid()
        return initial | self.cleaned_data


def _copy_choices(source: Any) -> forms.Field:
    """Return an optional field with the choices of a ``ModelChoiceField``, which have been read already."""
    field = forms.ModelChoiceField(source.queryset, to_field_name="uid", required=False, label=source.label)
    field.choices = [("", "none"), *(pair for pair in source.choices if pair[0])]
    return field


class TaskForm(RowForm):
    """One of several tasks. The rows and the grader of the first one are the job's own fields."""

    without_grader = "Choose what grades this task."
    without_rows = "Choose the data of this task."

    name = forms.CharField(
        max_length=30,
        required=False,
        help_text="Label used in charts and results. Defaults to the dataset name.",
    )
    weight = forms.FloatField(
        min_value=0,
        max_value=MAX_WEIGHT,
        required=False,
        initial=1,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text="Relative share of a step's prompts. Empty: 1.",
    )
    field_order = ("name", "dataset_version", "grader_version", "environment_version", "weight")

    def read_choice(
        self, version: DatasetVersion, grader: GraderVersion, environment: EnvironmentVersion | None
    ) -> TaskChoice:
        """Return the task as it is filled in; its name defaults to the dataset's."""
        values = self.values
        name = str(values["name"] or "").strip() or slugify(version.dataset.name)[:30]
        weight = values["weight"]
        weight = 1.0 if weight is None else weight
        return TaskChoice(name or self.prefix or "", version, grader, weight, environment)


class SuiteForm(RowForm):
    """Validation rows of another dataset, scored before, while and after the job trains."""

    without_grader = "Choose what grades this suite."
    without_rows = "Choose the rows of this suite."

    max_loss = forms.FloatField(
        min_value=0,
        required=False,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text=MAX_LOSS_HELP,
    )
    field_order = ("dataset_version", "grader_version", "max_loss")


class _TaskRows(forms.BaseFormSet):  # type: ignore[type-arg]
    def add_fields(self, form: TaskForm, index: int | None) -> None:
        super().add_fields(form, index)
        if index == 0:
            for name in ("dataset_version", "grader_version", "environment_version"):
                form.fields.pop(name, None)
        form.order_fields(TaskForm.field_order)
        for name, field in form.fields.items():
            field.label = f"{field.label or name.capitalize()} of task {(index or 0) + 1}"


class _SuiteRows(forms.BaseFormSet):  # type: ignore[type-arg]
    def add_fields(self, form: SuiteForm, index: int | None) -> None:
        super().add_fields(form, index)
        number = (index or 0) + 1
        form.order_fields(SuiteForm.field_order)
        form.fields["dataset_version"].label = f"Rows of suite {number}"
        form.fields["grader_version"].label = f"Grader of suite {number}"
        form.fields["max_loss"].label = f"Suite {number} may lose"


TaskFormSet = forms.formset_factory(
    TaskForm, formset=_TaskRows, extra=0, min_num=1, max_num=MAX_TASKS, absolute_max=MAX_TASKS
)
SuiteFormSet = forms.formset_factory(
    SuiteForm, formset=_SuiteRows, extra=0, min_num=1, max_num=MAX_SUITE_ROWS, absolute_max=MAX_SUITE_ROWS
)


def bind_rows(data: QueryDict | None, prefix: str, button: str) -> QueryDict | None:
    """Return the data of a formset, with one more row if its button was pressed; None if it was not sent."""
    count = f"{prefix}-{forms.formsets.TOTAL_FORM_COUNT}"
    if data is None or count not in data:
        return None
    if button not in data:
        return data
    longer = data.copy()
    longer[count] = str((parse_whole_number(str(data[count]), MAX_TASKS) or 1) + 1)
    return longer


def task_rows(tasks: Sequence[TaskChoice]) -> list[dict[str, Any]]:
    """Initial rows for several tasks; none for a job with a single task."""
    return [vars(task) for task in tasks] if len(tasks) > 1 else []


def suite_rows(suites: Sequence[SuiteChoice]) -> list[dict[str, Any]]:
    """Initial rows for the team's own suites."""
    return [vars(suite) for suite in suites if not suite.built_in]
