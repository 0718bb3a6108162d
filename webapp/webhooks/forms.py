"""Forms of webhook endpoints."""

from __future__ import annotations

from django import forms

from webapp.webhooks.models import NAME_LENGTH, URL_LENGTH, EventType


class EndpointForm(forms.Form):
    """The fields of an endpoint. ``services`` checks their values."""

    name = forms.CharField(max_length=NAME_LENGTH, help_text="Where the events go, for example: build server")
    url = forms.CharField(
        label="URL",
        max_length=URL_LENGTH,
        widget=forms.URLInput(attrs={"placeholder": "https://"}),
        help_text="Receives a POST request for each event. Must begin with https://.",
    )
    event_types = forms.MultipleChoiceField(
        label="Events",
        choices=EventType.choices,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "checkbox"}),
        initial=EventType.values,
    )


class RotationForm(forms.Form):
    """The choice of a rotation."""

    keep_old = forms.BooleanField(
        required=False, initial=True, label="Also sign with the old secret for 24 hours"
    )


class TestForm(forms.Form):
    """The event of a test."""

    event_type = forms.ChoiceField(label="Event", choices=EventType.choices)
