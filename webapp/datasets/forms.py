"""Forms of uploads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django import forms

from webapp.datasets.formats import ENDINGS
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.uploads import column_mapping
from webapp.datasets.uploads.validation import Options

LEAST_TRAINED = 10  # percent
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}", re.ASCII)


def choose_name(typed: str, filename: str) -> str:
    """The dataset's name: as typed, or the file's without its ending."""
    return typed.strip() or filename.rsplit(".", 1)[0][:120] or "Dataset"


class OptionsForm(forms.Form):
    """Where the prompt is, how much is held out, and of a table whose columns are known what each is."""

    prompt_column = forms.CharField(
        max_length=200,
        required=False,
        label="Prompt column",
        help_text="Leave empty to use a column named messages, prompt, question, input or the like.",
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

    def __init__(self, *args: Any, table: Sequence[dict[str, Any]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.roles = self.data.getlist("role") if self.is_bound and table else []  # type: ignore[attr-defined]
        known = [column["role"] for column in table]
        shown = self.roles if len(self.roles) == len(known) else known
        self.table = [column | {"role": role} for column, role in zip(table, shown, strict=True)]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.table:
            self._map(cleaned)
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
        names = [*OptionsForm.base_fields, "left_out"]
        return Options(**{name: self.cleaned_data[name] for name in names if name in self.cleaned_data})

    def _map(self, cleaned: dict[str, Any]) -> None:
        try:
            cleaned |= column_mapping.map_columns([column["name"] for column in self.table], self.roles)
        except ValueError as error:
            self.add_error(None, str(error))


class UploadForm(OptionsForm):
    """A new file."""

    file = forms.FileField(
        label="File",
        allow_empty_file=True,
        max_length=255,
        help_text="JSON Lines, CSV or Parquet.",
        widget=forms.FileInput(attrs={"accept": ",".join(ENDINGS)}),
    )
    name = forms.CharField(
        max_length=120, required=False, label="Name", help_text="Defaults to the file name."
    )
    field_order = ("file", "name", "prompt_column", "messages_column", "validation", "test")

    def dataset_name(self) -> str:
        """The name typed, or the file's without its ending."""
        return choose_name(self.cleaned_data["name"], self.cleaned_data["file"].name)

    def for_version_of(self, dataset: Dataset | None) -> UploadForm:
        """The form without a name if it adds a version to ``dataset``."""
        if dataset:
            del self.fields["name"]
        return self


class ImportForm(forms.Form):
    """Where a file is: a URL, or the id of a dataset on the Hugging Face hub."""

    source = forms.CharField(
        max_length=2000,
        label="URL or Hugging Face id",
        help_text="Such as https://example.com/rows.jsonl, or owner/dataset for its train split as Parquet.",
    )

    def clean_source(self) -> str:
        source: str = self.cleaned_data["source"].strip()
        is_url = source.startswith(("http://", "https://")) and bool(urlsplit(source).hostname)
        if not is_url and not HUB_ID.fullmatch(source):
            raise forms.ValidationError(
                "Give a URL that begins with https://, or an id such as owner/dataset."
            )
        if is_url and "@" in urlsplit(source).netloc:
            raise forms.ValidationError("Leave user names and passwords out of the URL.")
        return source


class OpenTestForm(forms.Form):
    """The confirmation that a test split should be opened: its version's name, typed."""

    confirmed = forms.CharField(max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, version: DatasetVersion, data: Any = None) -> None:
        super().__init__(data)
        self.wanted = str(version)
        self.fields["confirmed"].label = f"Type {self.wanted} to confirm"

    def clean_confirmed(self) -> str:
        typed: str = self.cleaned_data["confirmed"].strip()
        if typed != self.wanted:
            raise forms.ValidationError(f"This is not {self.wanted}.")
        return typed


class TransferForm(OptionsForm):
    """A new file that comes in parts."""

    filename = forms.CharField(max_length=255, label="File")
    size = forms.IntegerField(min_value=0, label="Size")
    name = forms.CharField(max_length=120, required=False, label="Name")

    def dataset_name(self) -> str:
        """The name typed, or the file's without its ending."""
        return choose_name(self.cleaned_data["name"], self.cleaned_data["filename"])
