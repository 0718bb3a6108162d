"""A form field for a JSON object."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.forms.fields import InvalidJSONInput


class ObjectField(forms.JSONField):
    """A JSON object. Empty text becomes an empty object."""

    widget = forms.Textarea(attrs={"rows": 2, "spellcheck": "false"})
    default_error_messages: ClassVar = {"invalid": 'Enter a JSON object, such as {"enable_thinking": false}.'}

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return the text itself for JSON that is nested too deeply to show again."""
        try:
            return super().bound_data(data, initial)
        except RecursionError:
            return InvalidJSONInput(data)

    def to_python(self, value: Any) -> Any:
        try:
            found = super().to_python(value)
        except RecursionError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return found
