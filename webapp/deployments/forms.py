"""Form that deploys a model."""

from __future__ import annotations

from typing import Any

from django import forms

from webapp.deployments.models import Deployment
from webapp.deployments.services import NAME_RULE, REASON_LENGTH
from webapp.registry.models import TunedModel
from webapp.registry.services import list_base_models
from webapp.teams.models import Team


class NameInput(forms.TextInput):
    """A text with suggestions."""

    def __init__(self, list_id: str) -> None:
        super().__init__(attrs={"list": list_id, "autocomplete": "off", "placeholder": "invoices"})


class DeployForm(forms.Form):
    """A model, and the name under which it answers: a new one or that of a deployment."""

    model = forms.ChoiceField(label="Model")
    name = forms.CharField(
        label="Deployment",
        max_length=64,
        widget=NameInput("deployment-names"),
        help_text=f"Callers send this name as “model”. {NAME_RULE} "
        "The name of a deployment moves it to this model.",
    )
    reason = forms.CharField(
        max_length=REASON_LENGTH,
        required=False,
        help_text="Optional, unless the retention gate holds the model back. It stands in the log.",
    )

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tuned = TunedModel.objects.alive().filter(team=team).values_list("name", flat=True)
        bases = list_base_models(team).values_list("model_id", flat=True)
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            ("Tuned models", [(name, name) for name in tuned]),
            ("Base models", [(name, name) for name in dict.fromkeys(bases)]),
        ]
        self.names = list(Deployment.objects.filter(team=team).values_list("name", flat=True))
