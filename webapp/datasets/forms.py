"""Forms of uploads and imports, and of opening a test split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.http import QueryDict

from webapp.datasets.formats import ENDINGS
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.reports import TableColumn
from webapp.datasets.uploads import column_mapping
from webapp.datasets.uploads.validation import Options

LEAST_TRAINED = 10  # percent
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}", re.ASCII)


def choose_name(typed: str, filename: str) -> str:
    """Return the typed name, or the file's name without its ending."""
    return typed.strip() or filename.rsplit(".", 1)[0][:120] or "Dataset"


class OptionsForm(forms.Form):
    """The prompt's column and the held-out shares; with a ``table``, a role for each column."""

    prompt_column = forms.CharField(
        max_length=200,
        required=False,
        label="Prompt column",
        help_text="Leave empty to use a column named messages, prompt, question, input or similar.",
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
        help_text="Measured during training.",
    )
    test = forms.IntegerField(
        min_value=0,
        max_value=50,
        initial=10,
        label="Sealed test, in percent",
        help_text="Used once, after training, to compare base and tuned model.",
    )

    def __init__(self, *args: Any, table: Sequence[TableColumn] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.roles = self.data.getlist("role") if self.is_bound and table else []  # type: ignore[attr-defined]
        self.table: list[TableColumn] = [{**column} for column in table]
        if len(self.roles) == len(self.table):
            for column, role in zip(self.table, self.roles, strict=True):
                column["role"] = role

    def clean(self) -> None:
        super().clean()
        cleaned = self.cleaned_data
        if self.table:
            try:
                names = [column["name"] for column in self.table]
                cleaned.update(column_mapping.map_columns(names, self.roles))
            except ValueError as error:
                self.add_error(None, str(error))
        held_out = (cleaned.get("validation") or 0) + (cleaned.get("test") or 0)
        if held_out > 100 - LEAST_TRAINED:
            self.add_error(
                "test", f"This holds out {held_out} %. Leave at least {LEAST_TRAINED} % for training."
            )
        if cleaned.get("prompt_column") and cleaned.get("messages_column"):
            self.add_error("messages_column", "Name a prompt column or a messages column, not both.")

    def build_options(self) -> Options:
        """Return the cleaned values."""
        names = [*OptionsForm.base_fields, "left_out"]
        return Options(**{name: self.cleaned_data[name] for name in names if name in self.cleaned_data})


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

    def get_dataset_name(self) -> str:
        """Return the typed name, or the file's name without its ending."""
        return choose_name(self.cleaned_data["name"], self.cleaned_data["file"].name)

    def without_name_for(self, dataset: Dataset | None) -> UploadForm:
        """Drop the name field if the file becomes a version of ``dataset``."""
        if dataset:
            del self.fields["name"]
        return self


class ImportForm(forms.Form):
    """The source of a file: a URL, or the id of a Hugging Face dataset."""

    source = forms.CharField(
        max_length=2000,
        label="URL or Hugging Face id",
        help_text="For example https://example.com/rows.jsonl, or owner/dataset for its train split.",
    )

    def clean_source(self) -> str:
        source: str = self.cleaned_data["source"].strip()
        is_url = source.startswith(("http://", "https://")) and bool(urlsplit(source).hostname)
        if not is_url and not HUB_ID.fullmatch(source):
            raise forms.ValidationError(
                "Enter a URL that starts with https://, or an id such as owner/dataset."
            )
        if is_url and "@" in urlsplit(source).netloc:
            raise forms.ValidationError("Remove the user name and password from the URL.")
        return source


class OpenTestForm(forms.Form):
    """Confirmation for opening a test split: the user types the version's name."""

    confirmed = forms.CharField(max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, version: DatasetVersion, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.version_name = str(version)
        self.fields["confirmed"].label = f"Type {self.version_name} to confirm"

    def clean_confirmed(self) -> str:
        typed: str = self.cleaned_data["confirmed"].strip()
        if typed != self.version_name:
            raise forms.ValidationError(f"This is not {self.version_name}.")
        return typed


class TransferForm(OptionsForm):
    """A new file that arrives in parts."""

    filename = forms.CharField(max_length=255, label="File")
    size = forms.IntegerField(min_value=0, label="Size")
    name = forms.CharField(max_length=120, required=False, label="Name")

    def get_dataset_name(self) -> str:
        """Return the typed name, or the file's name without its ending."""
        return choose_name(self.cleaned_data["name"], self.cleaned_data["filename"])
