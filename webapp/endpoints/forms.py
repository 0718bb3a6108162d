"""The form of an endpoint."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q

from webapp.endpoints.models import Endpoint
from webapp.registry.models import BaseModel
from webapp.teams.models import Team
from workers import outbound

MOST = 1e9
# As workers.contract.spec.JudgeEndpoint has them.
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
    """A judge model: at an address with a key, or a base model on our own workers."""

    api_key = forms.CharField(
        required=False,
        label="Key",
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Stored encrypted and never shown again. Empty for servers that ask for none.",
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
            "name": "As graders call it in their “model” field.",
            "base_url": "Of an OpenAI-compatible API, up to /v1: https://api.openai.com/v1, http://vllm:8000/v1.",
            "model": "What the server calls it. Empty: the same as the name.",
            "base_model": "Served on the worker while a job or trial runs; no address, no key.",
            "requests_per_minute": "Of one job. Empty: no limit.",
            "tokens_per_minute": "Of one job. Empty: no limit.",
            "concurrency": "In flight, of one job.",
            "timeout_seconds": "Per attempt (3 attempts).",
            "input_price": "In your currency. 0: it costs nothing.",
            "output_price": "In your currency.",
            "budget": "Once a job has spent it, the job pauses. Empty: no limit.",
        }

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team = team
        field = self.fields["base_model"]
        field.queryset = BaseModel.objects.filter(Q(team=team) | Q(team=None))  # type: ignore[attr-defined]
        field.empty_label = "None: it answers at the address above"  # type: ignore[attr-defined]
        self.fields["base_url"].assume_scheme = "https"  # type: ignore[attr-defined]
        if hint := self.instance.key_hint:
            kept = f"The stored key ends in {hint}. Empty keeps it; a new address needs it anew."
            self.fields["api_key"].help_text = kept

    def clean_base_url(self) -> str:
        """Refuse at once what needs no name server; workers check every connection."""
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
            self.add_error("base_url", "Give the address of an API, or choose a base model below.")
        if cleaned.get("base_model") and cleaned.get("base_url"):
            self.add_error("base_model", "Choose one: an address, or a base model on your workers.")
        cleaned["base_url"] = (cleaned.get("base_url") or "").rstrip("/")
        for name, (low, high) in BOUNDS.items():
            value = cleaned.get(name)
            if value is not None and not low <= value <= high:
                self.add_error(name, f"From {low:g} to {high:g}.")
        taken = Endpoint.objects.filter(team=self._team, name=cleaned.get("name"), deleted_at=None)
        if taken.exclude(pk=self.instance.pk).exists():
            self.add_error("name", "Another judge of this team has this name.")
        return cleaned

    @property
    def sections(self) -> list[tuple[str, list[forms.BoundField]]]:
        """(title, fields), as the page shows them."""
        first = ("name", "base_url", "model", "api_key", "base_model")
        limits = ("requests_per_minute", "tokens_per_minute", "concurrency", "timeout_seconds")
        money = ("input_price", "output_price", "budget")
        return [
            ("Connection", [self[name] for name in first]),
            ("Limits", [self[name] for name in limits]),
            ("Pricing and budget", [self[name] for name in money]),
        ]
