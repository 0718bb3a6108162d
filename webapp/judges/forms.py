"""Forms of labelling."""

from __future__ import annotations

from django import forms


class LabelForm(forms.Form):
    """One label: the index of the answer, and how good it is."""

    answer = forms.IntegerField(min_value=0)
    value = forms.IntegerField(min_value=1, max_value=5)
    seen = forms.IntegerField(required=False)  # the label that the page showed, which this one replaces


class PositionForm(forms.Form):
    """The index of the answer to label."""

    at = forms.IntegerField(min_value=0, required=False)
