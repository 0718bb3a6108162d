"""The form that releases a model."""

from __future__ import annotations

from django import forms


class ReleaseForm(forms.Form):
    """The reason to release a model that the gate holds back."""

    reason = forms.CharField(
        max_length=500,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3}),
        label="Why is it ready?",
    )
