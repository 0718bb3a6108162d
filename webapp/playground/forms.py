"""The playground's settings, which its address holds; the texts are in no address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from webapp.core.input_checks import load_json
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import Grader
from webapp.graders.trials.row_selection import SPLITS
from webapp.teams.models import Team

MOST_MODELS = 3
MOST_TOKENS = 4096


class SettingsForm(forms.Form):
    """Up to three models, sampling settings, a row and its grader."""

    model_1 = forms.ChoiceField(label="Model", required=False)
    model_2 = forms.ChoiceField(label="Second model", required=False)
    model_3 = forms.ChoiceField(label="Third model", required=False)
    temperature = forms.FloatField(min_value=0, max_value=2, initial=0.7, required=False)
    top_p = forms.FloatField(min_value=0, max_value=1, initial=1, required=False, label="Top-p")
    max_tokens = forms.IntegerField(
        min_value=1, max_value=MOST_TOKENS, initial=256, required=False, label="Maximum tokens"
    )
    seed = forms.IntegerField(
        min_value=0, max_value=2**31 - 1, required=False, help_text="The same seed gives the same answer."
    )
    logprobs = forms.BooleanField(required=False, label="Show token probabilities")
    dataset = forms.ChoiceField(required=False, label="Prompt from")
    split = forms.ChoiceField(choices=[(split, split.capitalize()) for split in SPLITS], required=False)
    row = forms.IntegerField(min_value=1, initial=1, required=False, label="Row")
    grader = forms.ChoiceField(required=False, label="Grade answers with")

    def __init__(
        self,
        *args: Any,
        team: Team,
        models: Sequence[tuple[str, str]],
        asked: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        """``asked`` names models that the address may have beside ``models``, such as checkpoints."""
        super().__init__(*args, **kwargs)
        names = [name for name, _ in models]
        models = [*models, *((name, name) for name in dict.fromkeys(asked) if name and name not in names)]
        for number in range(1, MOST_MODELS + 1):
            field = self.fields[f"model_{number}"]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [*models] if number == 1 else [("", "None"), *models]
        self.fields["model_1"].initial = names[0] if names else ""
        self._set_choices("dataset", "A prompt that I type", _list_versions(team))
        self._set_choices("grader", "No grader", _list_graders(team))

    def _set_choices(self, name: str, none: str, choices: Sequence[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", none), *choices]

    @property
    def models(self) -> list[str]:
        """The chosen models, each once."""
        cleaned = self.cleaned_data if self.is_bound else {}
        chosen = [cleaned.get(f"model_{n}") for n in range(1, MOST_MODELS + 1)]
        first = self.fields["model_1"].initial
        return list(dict.fromkeys(name for name in chosen if name)) or ([first] if first else [])


def _list_versions(team: Team) -> list[tuple[str, str]]:
    """Return the newest version of each dataset of the team."""
    live = DatasetVersion.objects.filter(dataset__team=team, dataset__deleted_at=None)
    newest = live.order_by("-dataset_id", "-number").distinct("dataset_id").select_related("dataset")
    return [(version.uid, str(version)) for version in newest]


def _list_graders(team: Team) -> list[tuple[str, str]]:
    return [(each.uid, each.name) for each in Grader.objects.alive().filter(team=team)]


class CompletionForm(forms.Form):
    """What the page sends for one answer: a body as of ``POST /v1/chat/completions``."""

    body = forms.CharField(max_length=2**20)

    def clean_body(self) -> dict[str, Any]:
        """Parse the JSON."""
        try:
            body = load_json(self.cleaned_data["body"])
        except (ValueError, RecursionError):
            raise forms.ValidationError("The request is not JSON.") from None
        if not isinstance(body, dict):
            raise forms.ValidationError("The request is not a JSON object.")
        return body


class VerdictForm(forms.Form):
    """An answer to a row, and the grader to reward it."""

    dataset = forms.CharField()
    split = forms.CharField()
    row = forms.IntegerField(min_value=1)
    grader = forms.CharField()
    answer = forms.CharField(max_length=2**20, required=False, strip=False)
