"""What people type about graders."""

from __future__ import annotations

import json
from typing import Any

from django import forms

from webapp.datasets.models import DatasetVersion
from webapp.registry.models import BaseModel
from workers.grading import GraderInvalid, validate

from .examples import EXAMPLES, EXPLANATIONS

MAX_DEFINITION_BYTES = 1_000_000


class DefinitionForm(forms.Form):
    """A grader: its Python source, or its definition as OpenAI's JSON."""

    source = forms.CharField(required=False, strip=False, widget=forms.Textarea)
    definition = forms.CharField(required=False, max_length=MAX_DEFINITION_BYTES, widget=forms.Textarea)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        if source := cleaned.get("source"):
            definition: Any = {"type": "python", "name": "grader", "source": source.replace("\r\n", "\n")}
        else:
            try:
                definition = json.loads(cleaned.get("definition", ""))
            except ValueError as error:
                self.add_error("definition", f"This is not JSON: {error}. Paste one object in braces.")
                return cleaned
        try:
            validate(definition)
        except GraderInvalid as error:
            place = "source" if source else "definition"
            self.add_error(place, f"{error.param}: {error.message}" if error.param else error.message)
        return cleaned | {"parsed": definition}


class NewGraderForm(DefinitionForm):
    """A named grader, from an example or from pasted JSON."""

    name = forms.CharField(max_length=120, help_text="What it rewards, for example “Invoice fields”.")
    kind = forms.ChoiceField(
        choices=[(kind, kind) for kind in EXAMPLES],
        widget=forms.RadioSelect,
        required=False,
        initial="python",
    )
    field_order = ("name", "kind", "definition")

    def clean(self) -> dict[str, Any]:
        if not self.cleaned_data.get("definition") and not self.cleaned_data.get("source"):
            return self.cleaned_data | {"parsed": EXAMPLES[self.cleaned_data.get("kind") or "python"]}
        return super().clean()

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """(kind, explanation), in the order shown."""
        return list(EXPLANATIONS.items())


class TrialForm(DefinitionForm):
    """Which rows to try a grader on, and where the answers come from."""

    ANSWERS = (
        ("field", "A field of the row"),
        ("typed", "An answer I type"),
        ("base_model", "Samples of a base model"),
    )
    version = forms.ModelChoiceField(DatasetVersion.objects.none(), label="Dataset")
    count = forms.IntegerField(min_value=1, max_value=50, initial=8, label="Rows")
    answers = forms.ChoiceField(choices=ANSWERS, initial="field", label="Answers")
    field = forms.CharField(required=False, initial="reference", label="Field")
    answer = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 3}), label="Answer"
    )
    base_model = forms.ModelChoiceField(BaseModel.objects.none(), required=False, label="Base model")

    def __init__(self, *args: Any, versions: Any, base_models: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].queryset = versions  # type: ignore[attr-defined]
        self.fields["version"].initial = versions.first()
        self.fields["base_model"].queryset = base_models  # type: ignore[attr-defined]
        self.fields["base_model"].initial = base_models.first()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("answers") == "base_model" and not cleaned.get("base_model"):
            self.add_error("base_model", "Choose the model that writes the answers.")
        return cleaned
