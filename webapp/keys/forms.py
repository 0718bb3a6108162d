"""Form of a new API key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from webapp.keys.models import Scope
from webapp.teams.access import Access

LIFETIMES = [("30", "30 days"), ("90", "90 days"), ("365", "1 year"), ("", "No expiry")]


class KeyForm(forms.Form):
    """A key's name, owner, scopes and lifetime. Only owners create service keys."""

    name = forms.CharField(max_length=80, help_text="Where it is used, for example: nightly import")
    kind = forms.ChoiceField(choices=[("personal", "Personal key"), ("service", "Service key")])
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, widget=forms.CheckboxSelectMultiple, initial=Scope.values
    )
    lifetime = forms.ChoiceField(choices=LIFETIMES, required=False, initial="90", label="Expires after")

    def __init__(self, *args: Any, access: Access, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not access.can_own:
            del self.fields["kind"]

    def build_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``services.create_key``."""
        days = self.cleaned_data["lifetime"]
        return {
            "name": self.cleaned_data["name"],
            "scopes": [Scope(each) for each in self.cleaned_data["scopes"]],
            "personal": self.cleaned_data.get("kind") != "service",
            "expires_at": timezone.now() + timedelta(days=int(days)) if days else None,
        }
