"""Form of a new API key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from webapp.keys.models import Scope
from webapp.teams.access import Access

KINDS = [("personal", "Personal key: acts as you"), ("service", "Service key: acts for the team as editor")]
LIFETIMES = [("30", "30 days"), ("90", "90 days"), ("365", "1 year"), ("", "Never")]
SCOPES = [
    (Scope.READ, "Read: files, jobs, models, completions"),
    (Scope.WRITE, "Write: upload, launch, change, delete"),
    (Scope.INFERENCE, "Inference: chat completions"),
]


class KeyForm(forms.Form):
    """A key's name, owner, scopes and lifetime. Only owners create service keys."""

    name = forms.CharField(max_length=80, help_text="Where you use it, for example: nightly import")
    kind = forms.ChoiceField(choices=KINDS)
    scopes = forms.MultipleChoiceField(
        choices=SCOPES,
        widget=forms.CheckboxSelectMultiple({"class": "checkbox checkbox-sm"}),
        initial=Scope.values,
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
