"""Forms of environments at servers."""

from __future__ import annotations

from typing import Any

from django import forms

from webapp.environments.servers.services import SERVER_KINDS
from workers import outbound


class ServerForm(forms.Form):
    """The connection to a server; ``secret`` may stay empty to keep the stored one."""

    url = forms.CharField(
        label="URL",
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://"}),
        help_text="Of an ORS server its root; of an MCP server its endpoint, often ending in /mcp.",
    )
    environment = forms.CharField(
        required=False,
        max_length=200,
        label="Environment at the server",
        help_text="ORS only. Leave empty if the server has one.",
    )
    secret = forms.CharField(
        required=False,
        label="Secret",
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Stored encrypted and never shown again. Leave empty if the server needs none.",
    )
    max_tool_calls = forms.IntegerField(
        min_value=1, max_value=200, initial=20, label="Tool calls", help_text="Of an episode, at most."
    )
    timeout_seconds = forms.FloatField(
        min_value=1, max_value=600, initial=60, label="Time-out, seconds", help_text="Of one request."
    )
    concurrency = forms.IntegerField(
        min_value=1, max_value=256, initial=32, label="Requests at once", help_text="Of one job."
    )

    def clean_url(self) -> str:
        """Refuse what can be refused without a name server; workers check every connection."""
        url: str = self.cleaned_data["url"].strip()
        try:
            outbound.check_url(url)
        except outbound.AddressRefused as error:
            raise forms.ValidationError(str(error)) from error
        return url

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("secret") and "url" in cleaned:
            try:
                outbound.require_https(cleaned["url"])
            except outbound.AddressRefused as error:
                self.add_error("url", f"{error} The secret would travel in the clear.")
        return cleaned


class ConnectForm(ServerForm):
    """A new environment at a server."""

    name = forms.CharField(max_length=120, help_text="What it simulates, for example “Refund desk”.")
    kind = forms.ChoiceField(
        label="Kind",
        choices=[(kind.type, kind.label) for kind in SERVER_KINDS],
        help_text=" ".join(f"{kind.label}: {kind.explanation}" for kind in SERVER_KINDS),
    )
    field_order = ("name", "kind")


class ChangeForm(ServerForm):
    """A changed connection, saved as a version, with a note on what changed."""

    note = forms.CharField(max_length=200, required=False, label="What changed")

    def __init__(self, *args: Any, kind: str, has_secret: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if kind != "ors":
            del self.fields["environment"]
        if has_secret:
            self.fields[
                "secret"
            ].help_text = "One is stored. Leave empty to keep it. Enter it again if the URL changes."
