"""The form of an endpoint."""

from __future__ import annotations

from typing import Any

from django import forms

from webapp.endpoints.models import Endpoint
from webapp.registry.services import list_base_models
from webapp.teams.models import Team
from workers import outbound

MOST = 1e9
# The same as in workers.contract.spec.JudgeEndpoint.
BOUNDS = {
    "concurrency": (1, 256),
    "timeout_seconds": (1, 600),
    "requests_per_minute": (1, MOST),
    "tokens_per_minute": (1, MOST),
    "input_price": (0, MOST),
    "output_price": (0, MOST),
    "budget": (0.000001, MOST),
}


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]
    """A judge model: at a URL with a key, or a base model on the team's workers."""

    api_key = forms.CharField(
        required=False,
        label="Key",
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Stored encrypted and never shown again. Leave empty if the server needs none.",
    )

    class Meta:
        model = Endpoint
        fields = (
            "name", "base_url", "model", "base_model", "requests_per_minute", "tokens_per_minute",
            "concurrency", "timeout_seconds", "input_price", "output_price", "budget",
        )  # fmt: skip
        labels = {
            "name": "Name",
            "base_url": "Base URL",
            "model": "Model",
            "base_model": "Or a base model on your workers",
            "requests_per_minute": "Requests a minute",
            "tokens_per_minute": "Tokens a minute",
            "concurrency": "Requests at once",
            "timeout_seconds": "Time-out, seconds",
            "input_price": "Input price per 1M tokens",
            "output_price": "Output price per 1M tokens",
            "budget": "Budget of a job",
        }
        help_texts = {
            "name": "The name that graders use in their “model” field.",
            "base_url": "Of an OpenAI-compatible API, up to /v1: https://api.openai.com/v1, http://vllm:8000/v1.",
            "model": "The model's name on the server. Empty: the same as the name.",
            "base_model": "Answers on a model server of your workers. Needs no URL and no key.",
            "requests_per_minute": "Per job. Empty: no limit.",
            "tokens_per_minute": "Per job. Empty: no limit.",
            "concurrency": "Per job.",
            "timeout_seconds": "Per attempt (3 attempts).",
            "input_price": "In your currency. 0 if it is free.",
            "output_price": "In your currency.",
            "budget": "A job that has spent it pauses. Empty: no limit.",
        }

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team = team
        field = self.fields["base_model"]
        field.queryset = list_base_models(team)  # type: ignore[attr-defined]
        field.empty_label = "None: use the base URL above"  # type: ignore[attr-defined]
        self.fields["base_url"].assume_scheme = "https"  # type: ignore[attr-defined]
        if hint := self.instance.key_hint:
            self.fields[
                "api_key"
            ].help_text = (
                f"The stored key ends in {hint}. Leave empty to keep it. Enter it again if the URL changes."
            )

    def clean_base_url(self) -> str:
        """Refuse what can be refused without a name server; workers check every connection."""
        url: str = self.cleaned_data["base_url"]
        if url:
            try:
                outbound.check_url(url)
            except outbound.AddressRefused as error:
                raise forms.ValidationError(str(error)) from error
        return url

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not cleaned.get("base_model") and not cleaned.get("base_url") and "base_url" not in self.errors:
            self.add_error("base_url", "Enter the base URL of an API, or choose a base model below.")
        if cleaned.get("base_model") and cleaned.get("base_url"):
            self.add_error("base_model", "Choose one: a base URL, or a base model on your workers.")
        cleaned["base_url"] = (cleaned.get("base_url") or "").rstrip("/")
        for name, (low, high) in BOUNDS.items():
            value = cleaned.get(name)
            if value is not None and not low <= value <= high:
                self.add_error(name, f"From {low:g} to {high:g}.")
        same_name = Endpoint.objects.alive().filter(team=self._team, name=cleaned.get("name"))
        if same_name.exclude(pk=self.instance.pk).exists():
            self.add_error("name", "Another judge of this team has this name.")
        return cleaned

    @property
    def sections(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The fields in groups, with titles."""
        first = ("name", "base_url", "model", "api_key", "base_model")
        limits = ("requests_per_minute", "tokens_per_minute", "concurrency", "timeout_seconds")
        money = ("input_price", "output_price", "budget")
        return [
            ("Connection", [self[name] for name in first]),
            ("Limits", [self[name] for name in limits]),
            ("Pricing and budget", [self[name] for name in money]),
        ]
