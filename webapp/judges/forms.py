"""Forms of labelling."""

from __future__ import annotations

from django import forms


class LabelForm(forms.Form):
    """One label: which answer, and how good it is."""

    answer = forms.IntegerField(min_value=0)
    value = forms.IntegerField(min_value=1, max_value=5)
    seen = forms.IntegerField(required=False)  # the label that it replaces, as the page showed it


class PlaceForm(forms.Form):
    """Where in a labelling task someone is."""

    at = forms.IntegerField(min_value=0, required=False)
