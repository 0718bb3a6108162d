"""The form of an SFT control run."""

from __future__ import annotations

from typing import Any

from django import forms

from webapp.experiments.control_runs import ACCEPTED, TEMPLATE, find_template_problem
from webapp.jobs.models.job import SftSource
from workers.contract.spec import SftSettings

FIELDS = SftSettings.model_fields


class SftForm(forms.Form):
    """Where the demonstrations come from, and how long and fast they are learnt."""

    source = forms.ChoiceField(
        label="Demonstrations",
        choices=[
            (ACCEPTED, "accepted rollouts of this job, the best of each row"),
            (TEMPLATE, "a template over the row's fields"),
        ],
        initial=ACCEPTED,
    )
    template = forms.CharField(
        required=False,
        max_length=2000,
        label="Template",
        help_text="Only for the second source: what the model should answer, such as {{item.answer}}.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )
    epochs = forms.IntegerField(
        min_value=1, max_value=100, initial=FIELDS["epochs"].default, help_text="Passes over them."
    )
    learning_rate = forms.FloatField(
        min_value=1e-8,
        max_value=0.1,
        initial=FIELDS["learning_rate"].default,
        help_text="A lower one forgets less; it falls to 0 over the job.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    batch_size = forms.IntegerField(min_value=1, max_value=512, initial=FIELDS["batch_size"].default)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        problem = find_template_problem(cleaned.get("template", ""))
        if cleaned.get("source") == TEMPLATE and problem:
            self.add_error("template", problem)
        return cleaned

    def chosen(self) -> SftSource:
        """What was chosen, once the form is valid."""
        given = self.cleaned_data
        kept = given["template"].strip() if given["source"] == TEMPLATE else ""
        return SftSource(**given | {"template": kept})
