"""Forms of an import from another service."""

from __future__ import annotations

from django import forms

from workers import outbound

OPENAI = "https://api.openai.com/v1"
URL_LENGTH = 500
KEY_LENGTH = 500


class ConnectForm(forms.Form):
    """The service and a key that reads its files and jobs."""

    base_url = forms.CharField(
        label="Base URL",
        max_length=URL_LENGTH,
        initial=OPENAI,
        widget=forms.URLInput,
        help_text="OpenAI's, another Groove's (https://groove.example/v1), or any service with the same API.",
    )
    api_key = forms.CharField(
        label="Key",
        max_length=KEY_LENGTH,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Kept encrypted for ten minutes and then forgotten. It is stored in no database.",
    )

    def clean_base_url(self) -> str:
        """Refuse what can be refused without a name server; every connection is checked again."""
        url: str = self.cleaned_data["base_url"]
        try:
            outbound.require_https(url)
        except outbound.AddressRefused as error:
            raise forms.ValidationError(str(error)) from error
        return url.rstrip("/")

    def clean_api_key(self) -> str:
        """Refuse what no header can hold."""
        key: str = self.cleaned_data["api_key"]
        if not key.isascii() or not key.isprintable() or " " in key:
            raise forms.ValidationError("A key has letters, digits and signs, and no spaces.")
        return key
