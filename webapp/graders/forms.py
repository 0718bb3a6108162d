"""Forms of graders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.core.files.uploadedfile import UploadedFile

from webapp.core.fields import replace_nul
from webapp.core.input_checks import load_json
from webapp.datasets.content.problems import RowError
from webapp.datasets.content.rows import Columns, build_row
from webapp.datasets.models import Dataset
from webapp.graders.definitions.parsing import TextInvalid, read_json
from webapp.graders.models import Grader, GraderTest
from workers.contract.json_types import JsonObject
from workers.grading import KINDS, GraderInvalid, validate
from workers.grading.template import Reference, TemplateInvalid, parse_template

MAX_DEFINITION_BYTES = 1_000_000
KIND_GROUPS = (
    ("OpenAI's types", "The same JSON runs on OpenAI's API.", True),
    ("Groove's own", "Groove only; not portable to OpenAI.", False),
)


class DefinitionForm(forms.Form):
    """A grader: its Python source, or its definition as OpenAI's JSON.

    ``latest`` is the version that is edited: a new source keeps its name and image tag.
    """

    source = forms.CharField(required=False, strip=False, widget=forms.Textarea)
    definition = forms.CharField(
        required=False, strip=False, max_length=MAX_DEFINITION_BYTES, widget=forms.Textarea
    )
    invalid: TextInvalid | None = None

    def __init__(self, *args: Any, latest: JsonObject | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.latest = latest or {"type": "python", "name": "grader"}

    @property
    def is_source(self) -> bool:
        """True if the text is Python source, not JSON."""
        values: Any = self.data if self.is_bound else self.initial
        return "source" in values and not values.get("definition")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            cleaned["parsed"] = self._parse(cleaned)
        return cleaned

    def _parse(self, cleaned: Mapping[str, str]) -> JsonObject | None:
        try:
            if self.is_source:
                source = cleaned.get("source", "").replace("\r\n", "\n")
                definition = self.latest | {"source": source}
                validate(definition)
                return definition
            imported: JsonObject = read_json(cleaned.get("definition", "")).definition
            return imported
        except GraderInvalid as error:
            self.add_error("source", error.message)
        except TextInvalid as error:
            self.invalid = error
            self.add_error("definition", str(error))
        return None


class SaveForm(DefinitionForm):
    """The text of the bench, to save as a version, with a note on what changed."""

    note = forms.CharField(max_length=200, required=False, label="What changed")

    def __init__(self, *args: Any, grader: Grader, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.grader = grader

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if self.grader.deleted_at:
            self.add_error(None, "This grader is deleted. Restore it, then save your text.")
        return cleaned


class DescriptionForm(forms.ModelForm):  # type: ignore[type-arg]
    """A grader's name, and its purpose in one line."""

    class Meta:
        model = Grader
        fields = ("name", "description")
        help_texts: ClassVar = {
            "name": "Pages of jobs show it too, also of finished jobs.",
            "description": "What it rewards, in one line.",
        }


class NewGraderForm(forms.Form):
    """A named grader that starts from an example."""

    name = forms.CharField(max_length=120, help_text="What it rewards, for example “Invoice fields”.")
    kind = forms.ChoiceField(
        choices=[(kind.type, kind.label) for kind in KINDS.values()],
        widget=forms.RadioSelect,
        initial="python",
    )

    @property
    def groups(self) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """The kinds by group: (title, remark, [(kind, explanation)])."""
        return [
            (title, remark, [(k.type, k.explanation) for k in KINDS.values() if k.is_openai == is_openai])
            for title, remark, is_openai in KIND_GROUPS
        ]

    @property
    def selected_kind(self) -> str:
        """The kind that is selected."""
        return str(self["kind"].value())


class ImportForm(DefinitionForm):
    """A grader as JSON: pasted, or uploaded as a file."""

    name = forms.CharField(
        max_length=120, required=False, help_text="Leave empty to use the name in the JSON."
    )
    file = forms.FileField(
        required=False, allow_empty_file=True, label="JSON file", help_text="Or paste it below."
    )
    field_order = ("name", "file", "definition")

    def clean_file(self) -> UploadedFile[bytes] | None:
        file: UploadedFile[bytes] | None = self.cleaned_data.get("file")
        if file and (file.size or 0) > MAX_DEFINITION_BYTES:
            raise forms.ValidationError(f"The file is larger than {MAX_DEFINITION_BYTES:,} bytes.")
        return file

    def clean(self) -> dict[str, Any]:
        if file := self.cleaned_data.get("file"):
            text = file.read().decode("utf-8-sig", "replace")
            self.cleaned_data["definition"] = text
            self.data = {**self.data, "definition": text}  # shown again next to the error
        return super().clean()

    def grader_name(self) -> str:
        """Return the name typed, or the definition's own."""
        own = replace_nul(self.cleaned_data["parsed"].get("name"))[:120]
        return self.cleaned_data["name"] or own or "Imported grader"


class CheckingForm(forms.Form):
    """Sets how the versions of a grader are checked."""

    dataset = forms.ModelChoiceField(
        Dataset.objects.none(), required=False, empty_label="chosen automatically", label="Rows from",
        help_text="Automatic: the dataset tried last, else the newest with the fields that the grader reads.",
    )  # fmt: skip
    reference_field = forms.CharField(
        max_length=200, required=False, label="Reference field",
        help_text="Leave empty to detect it automatically.",
    )  # fmt: skip
    full_answer = forms.CharField(
        max_length=10_000, required=False, label="Full marks",
        widget=forms.Textarea(attrs={"rows": 3, "class": "font-mono"}),
        help_text="The completion that should earn the highest reward. For several fields, write a template: "
        "{\"total\": {{item.total}}, \"vendor\": \"{{item.vendor}}\"}. "
        "Leave empty to detect it from the grader's references.",
    )  # fmt: skip
    cheat_threshold = forms.FloatField(
        initial=0.3, label="Warn above", help_text="The highest reward that a cheat may earn."
    )

    def __init__(self, *args: Any, datasets: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"].queryset = datasets  # type: ignore[attr-defined]

    def clean_full_answer(self) -> str:
        template: str = self.cleaned_data["full_answer"]
        try:
            pieces = parse_template(template).pieces
        except TemplateInvalid as error:
            raise forms.ValidationError(str(error)) from error
        if any(isinstance(piece, Reference) and piece.namespace == "sample" for piece in pieces):
            raise forms.ValidationError("Use only fields of the row, as {{item.…}}.")
        return template


class KnownAnswerForm(forms.Form):
    """A known good or bad answer, with its row."""

    kind = forms.ChoiceField(choices=GraderTest.Kind.choices, label="It is")
    prompt = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), label="Prompt")
    item = forms.CharField(
        required=False, initial="{}", widget=forms.Textarea(attrs={"rows": 3, "class": "font-mono"}),
        label="Fields of the row", help_text="A JSON object, for example {\"reference\": \"Paris\"}.",
    )  # fmt: skip
    answer = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 3}), label="Answer"
    )
    limit = forms.FloatField(
        required=False, label="Limit", help_text="A good answer must earn at least this, a bad one at most."
    )
    note = forms.CharField(max_length=200, required=False, label="Note")

    def clean_item(self) -> JsonObject:
        try:
            item = load_json(self.cleaned_data["item"] or "{}")
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from error
        if not isinstance(item, dict):
            raise forms.ValidationError("Write a JSON object in braces.")
        return item

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            message = {"role": "user", "content": cleaned["prompt"]}
            try:
                row = build_row(cleaned["item"] | {"messages": [message]}, Columns())
            except RowError as error:
                self.add_error("item", str(error))
            else:
                cleaned["row"] = {"row_id": row.row_id, "messages": row.messages, "item": row.item}
        return cleaned
