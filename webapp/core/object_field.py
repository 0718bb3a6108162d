"""A form field for a JSON object."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms


class ObjectField(forms.JSONField):
    """A JSON object. Empty text becomes an empty object."""

    widget = forms.Textarea(attrs={"rows": 2, "spellcheck": "false"})
    default_error_messages: ClassVar = {"invalid": 'Enter a JSON object, such as {"enable_thinking": false}.'}

    def to_python(self, value: Any) -> Any:
        try:
            found = super().to_python(value)
        except RecursionError:  # deep nesting
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return found
