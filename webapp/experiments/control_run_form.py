"""The form of an SFT control run."""

from __future__ import annotations

from django import forms

from webapp.experiments.control_runs import ACCEPTED, TEMPLATE, find_template_problem
from webapp.jobs.models.job import SftSource
from workers.contract.spec import SftSettings

FIELDS = SftSettings.model_fields


class SftForm(forms.Form):
    """Source of the demonstrations, and the settings of SFT."""

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
        help_text="Only for the second source: the completion to learn, such as {{item.answer}}.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )
    epochs = forms.IntegerField(
        min_value=1,
        max_value=100,
        initial=FIELDS["epochs"].default,
        help_text="Passes over the demonstrations.",
    )
    learning_rate = forms.FloatField(
        min_value=1e-8,
        max_value=0.1,
        initial=FIELDS["learning_rate"].default,
        help_text="A lower rate forgets less. It falls to 0 over the job.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    batch_size = forms.IntegerField(min_value=1, max_value=512, initial=FIELDS["batch_size"].default)

    def clean(self) -> dict[str, object]:
        cleaned: dict[str, object] = super().clean() or {}
        problem = find_template_problem(str(cleaned.get("template", "")))
        if cleaned.get("source") == TEMPLATE and problem:
            self.add_error("template", problem)
        return cleaned

    def read_source(self) -> SftSource:
        """Return the values of a valid form; a template is ignored unless it is the source."""
        values = self.cleaned_data
        template = values["template"].strip() if values["source"] == TEMPLATE else ""
        return SftSource(**values | {"template": template})
