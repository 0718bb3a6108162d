"""The form that releases a model."""

from __future__ import annotations

from django import forms


class ReleaseForm(forms.Form):
    """Why a model that the gate holds back is ready all the same."""

    reason = forms.CharField(
        max_length=500,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3}),
        label="Why it is ready all the same",
    )
