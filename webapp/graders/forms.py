"""What people type about graders."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from webapp.config.fields import storable
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.problems import RowError
from webapp.datasets.rows import Columns, row_of
from webapp.registry.models import BaseModel
from workers.grading import GraderInvalid, validate

from . import choosing
from .examples import EXAMPLES, EXPLANATIONS, GROUPS
from .models import GraderTest, GraderVersion
from .reading import Json, Row, TextInvalid, read_json

MAX_DEFINITION_BYTES = 1_000_000
MAX_SAMPLES = 8


class DefinitionForm(forms.Form):
    """A grader: its Python source, or its definition as OpenAI's JSON.

    ``latest`` is the version that is edited: a new source keeps its name and image tag.
    """

    source = forms.CharField(required=False, strip=False, widget=forms.Textarea)
    definition = forms.CharField(
        required=False, strip=False, max_length=MAX_DEFINITION_BYTES, widget=forms.Textarea
    )
    invalid: TextInvalid | None = None

    def __init__(self, *args: Any, latest: Json | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.latest = latest or {"type": "python", "name": "grader"}

    @property
    def is_source(self) -> bool:
        """Whether it holds Python source, not JSON."""
        given: Any = self.data if self.is_bound else self.initial
        return "source" in given and not given.get("definition")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            cleaned["parsed"] = self._parsed(cleaned)
        return cleaned

    def _parsed(self, cleaned: dict[str, Any]) -> Json | None:
        try:
            if self.is_source:
                source = cleaned.get("source", "").replace("\r\n", "\n")
                definition = self.latest | {"source": source}
                validate(definition)
                return definition
            imported: Json = read_json(cleaned.get("definition", "")).definition
            return imported
        except GraderInvalid as error:
            self.add_error("source", error.message)
        except TextInvalid as error:
            self.invalid = error
            self.add_error("definition", str(error))
        return None


class NewGraderForm(forms.Form):
    """A named grader that starts from an example."""

    name = forms.CharField(max_length=120, help_text="What it rewards, for example “Invoice fields”.")
    kind = forms.ChoiceField(
        choices=[(kind, kind) for kind in EXAMPLES], widget=forms.RadioSelect, initial="python"
    )

    @property
    def groups(self) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """(title, remark, [(kind, explanation)]), in the order shown."""
        return [(title, said, [(k, EXPLANATIONS[k]) for k in kinds]) for title, said, kinds in GROUPS]

    @property
    def chosen(self) -> str:
        """The kind that is marked."""
        return str(self["kind"].value())


class ImportForm(DefinitionForm):
    """A grader as JSON: pasted, or uploaded as a file."""

    name = forms.CharField(
        max_length=120, required=False, help_text="Left empty, the name in the JSON is taken."
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
            self.data = {**self.data, "definition": text}  # shown again beside what is wrong
        return super().clean()

    def grader_name(self) -> str:
        """The name typed, or the definition's own."""
        own = storable(self.cleaned_data["parsed"].get("name"))[:120]
        return self.cleaned_data["name"] or own or "Imported grader"


PICKS = (
    ("first", "The first"),
    ("random", "A random draw"),
    ("search", "Those that hold a text"),
    ("ids", "Particular rows"),
)
ANSWERS = (
    ("field", "A field of the row"),
    ("typed", "An answer I type"),
    ("base_model", "Samples of a base model"),
)


class TrialForm(DefinitionForm):
    """Which rows to try a grader on, and where the answers come from."""

    version = forms.ModelChoiceField(DatasetVersion.objects.none(), label="Dataset")
    split = forms.ChoiceField(
        choices=[(s, s) for s in choosing.SPLITS], initial="train", required=False, label="Split"
    )
    pick = forms.ChoiceField(choices=PICKS, initial="first", required=False, label="Rows")
    count = forms.IntegerField(
        min_value=1, max_value=choosing.MAX_ROWS, initial=8, required=False, label="How many"
    )
    seed = forms.IntegerField(min_value=0, max_value=2**31 - 1, initial=0, required=False, label="Seed")
    text = forms.CharField(max_length=500, required=False, label="Text in the row")
    ids = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), label="Row ids",
        help_text="By spaces or lines; the first characters are enough.",
    )  # fmt: skip
    answers = forms.MultipleChoiceField(
        choices=ANSWERS, initial=["field"], label="Answers", widget=forms.CheckboxSelectMultiple
    )
    field = forms.CharField(required=False, max_length=200, initial="reference", label="Field")
    answer = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 3}), label="Answer"
    )
    base_model = forms.ModelChoiceField(BaseModel.objects.none(), required=False, label="Base model")
    samples = forms.IntegerField(
        min_value=1, max_value=MAX_SAMPLES, initial=4, required=False, label="Samples a row"
    )
    second = forms.ModelChoiceField(
        GraderVersion.objects.none(), required=False, label="Compare with",
        help_text="Grades the same answers, to see whether both order them alike.",
    )  # fmt: skip
    choice_names = (
        "split", "pick", "count", "seed", "text", "ids", "answers", "field", "answer", "samples",
    )  # fmt: skip

    def __init__(self, *args: Any, versions: Any, base_models: Any, graders: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offered: dict[str, list[tuple[int, str]]] = {}
        for name, objects in (("version", versions), ("base_model", base_models), ("second", graders)):
            self._offer(name, objects)
        base, second = self.fields["base_model"], self.fields["second"]
        base.initial = next((pk for pk, _ in self.offered["base_model"]), None)
        second.choices = [("", "nothing"), *self.offered["second"]]  # type: ignore[attr-defined]

    def _offer(self, name: str, objects: Any) -> None:
        """Read once: the page asks for the choices more than once."""
        field: Any = self.fields[name]
        field.queryset = objects
        self.offered[name] = [(each.pk, field.label_from_instance(each)) for each in objects]
        field.choices = [("", field.empty_label), *self.offered[name]]

    def has_rows(self) -> bool:
        """Whether there is a dataset to try the grader on."""
        return bool(self.offered["version"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for name in ("split", "pick", "count", "seed", "samples"):
            if cleaned.get(name) in ("", None):
                cleaned[name] = self.fields[name].initial
        if "base_model" in cleaned.get("answers", []) and not cleaned.get("base_model"):
            self.add_error("base_model", "Choose the model that writes the answers.")
        if cleaned.get("pick") == "search" and not cleaned.get("text"):
            self.add_error("text", "Say which text the rows should hold.")
        if cleaned.get("pick") == "ids" and not cleaned.get("ids", "").split():
            self.add_error("ids", "Say which rows, by their ids.")
        return cleaned

    def rows(self) -> list[Row]:
        """The rows that were chosen."""
        data = self.cleaned_data
        version, split, count = data["version"], data["split"], data["count"]
        pick: dict[str, Callable[[], list[Row]]] = {
            "first": lambda: choosing.first(version, split, count),
            "random": lambda: choosing.randomly(version, split, count, data["seed"]),
            "search": lambda: choosing.searched(version, split, count, data["text"]),
            "ids": lambda: choosing.named(version, split, data["ids"].replace(",", " ").split()),
        }
        return pick[data["pick"]]()

    def choices(self) -> Json:
        """What was filled in, to be kept with the trial."""
        return {name: self.cleaned_data[name] for name in self.choice_names}


class CheckingForm(forms.Form):
    """How the versions of a grader are checked."""

    dataset = forms.ModelChoiceField(
        Dataset.objects.none(), required=False, empty_label="chosen automatically", label="Rows from",
        help_text="Left to Groove: the dataset tried last, else the newest that has the fields it reads.",
    )  # fmt: skip
    reference_field = forms.CharField(
        max_length=200, required=False, label="Field with the right answer",
        help_text="Left empty, its name gives it away.",
    )  # fmt: skip
    cheat_threshold = forms.FloatField(
        initial=0.3, label="Warn above", help_text="The reward that a cheat may earn at most."
    )

    def __init__(self, *args: Any, datasets: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"].queryset = datasets  # type: ignore[attr-defined]


class KnownAnswerForm(forms.Form):
    """An answer that is known to be good or bad, with the row it answers."""

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

    def clean_item(self) -> Json:
        try:
            item = json.loads(self.cleaned_data["item"] or "{}")
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from error
        if not isinstance(item, dict):
            raise forms.ValidationError("Write an object in braces.")
        return item

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            message = {"role": "user", "content": cleaned["prompt"]}
            try:
                row = row_of(cleaned["item"] | {"messages": [message]}, Columns())
            except RowError as error:
                self.add_error("item", str(error))
            else:
                cleaned["row"] = {"row_id": row.row_id, "messages": row.messages, "item": row.item}
        return cleaned
