"""The part of the new-job form about suites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms

from webapp.core.input_checks import parse_whole_number
from webapp.jobs.launch.suites import SuiteChoice
from webapp.jobs.launch.task_fields import offered
from workers.starter.suites import SUITES

PARTS = ("dataset_version", "grader_version", "max_loss")
LABELS = {"dataset_version": "Rows of suite {}", "grader_version": "Grader of suite {}"}
COUNT, MORE, MOST = "suites", "add_suite", 8
ROW, BUILT_IN, MARGIN = "suite_{}__{}", "suite_built_in__{}", "suite_built_in_margin"
LOSS = "Maximum allowed drop (upper 95% bound). Leave empty to measure without blocking."


@dataclass(frozen=True)
class SuiteRow:
    """The fields of one suite of the team's own."""

    number: int
    fields: list[forms.BoundField]


def add_fields(form: forms.Form, data: Any, suites: Sequence[SuiteChoice]) -> None:
    """Adds a box for each built-in suite, and fields of as many others as ``data`` or ``suites`` has."""
    built_in = {suite.built_in: suite for suite in suites if suite.built_in}
    for key, suite in SUITES.items():
        form.fields[BUILT_IN.format(key)] = forms.BooleanField(
            required=False, label=suite.title, help_text=suite.description, initial=key in built_in
        )
    margin = next(iter(built_in.values())).max_loss if built_in else None
    form.fields[MARGIN] = _margin("Each of them may lose", margin)
    own = [suite for suite in suites if not suite.built_in]
    for number in range(1, (_count(data) if data else max(len(own), 1)) + 1):
        initial = own[number - 1] if number <= len(own) else None
        for part in PARTS:
            form.fields[ROW.format(number, part)] = _field(form, number, part, initial)


def _margin(label: str, initial: float | None) -> forms.FloatField:
    widget = forms.NumberInput(attrs={"step": "any"})
    return forms.FloatField(
        min_value=0, required=False, label=label, initial=initial, widget=widget, help_text=LOSS
    )


def _count(data: Any) -> int:
    """Rows that were sent, and one more if it was asked for."""
    count = parse_whole_number(str(data.get(COUNT, "")), 99) or 1
    return max(1, min(MOST, count + (MORE in data)))


def _field(form: forms.Form, number: int, part: str, initial: SuiteChoice | None) -> forms.Field:
    if part == "max_loss":
        return _margin(f"Suite {number} may lose", initial.max_loss if initial else None)
    first: Any = form.fields[part]
    field = forms.ModelChoiceField(
        first.queryset,
        to_field_name="uid",
        required=False,
        label=LABELS[part].format(number),
        initial=initial and getattr(initial, part),
    )
    field.choices = [("", "none"), *(pair for pair in offered(first) if pair[0])]
    return field


def built_in_fields(form: forms.Form) -> list[forms.BoundField]:
    """A box for each built-in suite, and the margin of all of them."""
    return [*(form[BUILT_IN.format(key)] for key in SUITES), form[MARGIN]]


def rows(form: forms.Form) -> list[SuiteRow]:
    """The fields of every suite of the team's own."""
    numbers = [n for n in range(1, MOST + 1) if ROW.format(n, PARTS[0]) in form.fields]
    return [SuiteRow(n, [form[ROW.format(n, part)] for part in PARTS]) for n in numbers]


def check(cleaned: dict[str, Any]) -> dict[str, str]:
    """Field -> what is missing, of suites that have rows or a grader but not both."""
    missing: dict[str, str] = {}
    for number in range(1, MOST + 1):
        data, grader = ROW.format(number, "dataset_version"), ROW.format(number, "grader_version")
        if cleaned.get(data) and not cleaned.get(grader):
            missing[grader] = "Choose what grades this suite."
        if cleaned.get(grader) and not cleaned.get(data):
            missing[data] = "Choose the rows of this suite."
    return missing


def chosen(values: dict[str, Any]) -> list[SuiteChoice]:
    """The suites that are ticked or filled in, each with a name of its own."""
    margin = values.get(MARGIN)
    picked = [
        SuiteChoice(suite.title, built_in=key, max_loss=margin)
        for key, suite in SUITES.items()
        if values.get(BUILT_IN.format(key))
    ]
    for number in range(1, MOST + 1):
        version, grader, loss = (values.get(ROW.format(number, part)) for part in PARTS)
        if version and grader:
            name = _own_name(version.dataset.name, {suite.name for suite in picked})
            picked.append(SuiteChoice(name, "", version, grader, loss))
    return picked


def _own_name(name: str, taken: set[str]) -> str:
    name = name[:110]
    numbered = (f"{name} {number}" for number in range(2, MOST + 2))
    return name if name not in taken else next(each for each in numbered if each not in taken)
