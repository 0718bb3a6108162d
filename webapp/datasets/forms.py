"""Forms of uploads."""

from __future__ import annotations

from typing import Any

from django import forms

from .checking import Options
from .models import Dataset

LEAST_TRAINED = 10  # percent


def named(typed: str, filename: str) -> str:
    """The dataset's name: as typed, or the file's without its ending."""
    return typed.strip() or filename.rsplit(".", 1)[0][:120] or "Dataset"


class OptionsForm(forms.Form):
    """Where the prompt is and how much is held out."""

    prompt_column = forms.CharField(
        max_length=200,
        required=False,
        label="Prompt column",
        help_text="Left empty, a column named messages, prompt, question, input or the like is taken.",
    )
    messages_column = forms.CharField(
        max_length=200,
        required=False,
        label="Messages column",
        help_text="A column of chat messages, as a list or as JSON text, if not named messages.",
    )
    validation = forms.IntegerField(
        min_value=0,
        max_value=50,
        initial=10,
        label="Validation, in percent",
        help_text="Looked at while training.",
    )
    test = forms.IntegerField(
        min_value=0,
        max_value=50,
        initial=10,
        label="Sealed test, in percent",
        help_text="Used once, after training, to compare base and tuned model.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        held_out = (cleaned.get("validation") or 0) + (cleaned.get("test") or 0)
        if held_out > 100 - LEAST_TRAINED:
            self.add_error(
                "test", f"That holds out {held_out} %; leave at least {LEAST_TRAINED} % to train on."
            )
        if cleaned.get("prompt_column") and cleaned.get("messages_column"):
            self.add_error("messages_column", "Name a prompt column or a messages column, not both.")
        return cleaned

    def options(self) -> Options:
        """The cleaned values."""
        return Options(**{name: self.cleaned_data[name] for name in OptionsForm.base_fields})


class UploadForm(OptionsForm):
    """A new file."""

    file = forms.FileField(
        label="File", allow_empty_file=True, max_length=255, help_text="JSON Lines, CSV or Parquet."
    )
    name = forms.CharField(
        max_length=120, required=False, label="Name", help_text="Left empty, the name of the file is taken."
    )
    field_order = ("file", "name", "prompt_column", "messages_column", "validation", "test")

    def dataset_name(self) -> str:
        """The name typed, or the file's without its ending."""
        return named(self.cleaned_data["name"], self.cleaned_data["file"].name)

    def for_version_of(self, dataset: Dataset | None) -> UploadForm:
        """The form without a name if it adds a version to ``dataset``."""
        if dataset:
            del self.fields["name"]
        return self


class TransferForm(OptionsForm):
    """A new file that comes in parts."""

    filename = forms.CharField(max_length=255, label="File")
    size = forms.IntegerField(min_value=0, label="Size")
    name = forms.CharField(max_length=120, required=False, label="Name")

    def dataset_name(self) -> str:
        """The name typed, or the file's without its ending."""
        return named(self.cleaned_data["name"], self.cleaned_data["filename"])
