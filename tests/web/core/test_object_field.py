"""A field for a JSON object refuses what it cannot read, and shows it again."""

from __future__ import annotations

import pytest
from django import forms

from webapp.core.object_field import ObjectField


class Arguments(forms.Form):
    arguments = ObjectField(required=False)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{"])
def test_what_is_no_object_is_refused_and_shown_again(text: str) -> None:
    form = Arguments({"arguments": text})
    assert "Enter a JSON object" in form.errors["arguments"][0]
    assert text[:3] in str(form["arguments"])


def test_empty_text_is_an_empty_object() -> None:
    form = Arguments({"arguments": ""})
    assert form.is_valid()
    assert form.cleaned_data == {"arguments": {}}
