"""The form of a trial: its rows and completions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms

from webapp.core.labels import build_distinct_labels
from webapp.datasets.labels import describe_version
from webapp.datasets.models import DatasetVersion
from webapp.graders.forms import DefinitionForm
from webapp.graders.models import GraderVersion
from webapp.graders.rows import Row
from webapp.graders.trials import row_selection
from webapp.registry.models import BaseModel

MAX_SAMPLES = 8
PICKS = (
    ("first", "The first"),
    ("random", "A random draw"),
    ("search", "Rows with a text"),
    ("ids", "Rows by id"),
)
ANSWERS = (
    ("field", "A field of the row"),
    ("typed", "A completion I type"),
    ("base_model", "Samples of a base model"),
)

MOST_NAMED = 10


def build_choices(versions: list[Any], series: str, describe: Callable[[Any], str] = str) -> list[Any]:
    """Return choices of versions, newest first: the newest of each series, then the older ones in a group."""
    labels = build_distinct_labels(versions, describe)
    newest: dict[int, Any] = {}
    for version in versions:
        newest.setdefault(getattr(version, series), version)
    first = {each.pk for each in newest.values()}
    older = [(each.pk, labels[each.pk]) for each in versions if each.pk not in first]
    choices = [(each.pk, labels[each.pk]) for each in newest.values()]
    return [*choices, ("Older versions", older)] if older else choices


class TrialForm(DefinitionForm):
    """The rows to try a grader on, and the sources of the completions."""

    version = forms.ModelChoiceField(DatasetVersion.objects.none(), label="Dataset")
    split = forms.ChoiceField(
        choices=[(s, s) for s in row_selection.SPLITS], initial="train", required=False, label="Split"
    )
    pick = forms.ChoiceField(choices=PICKS, initial="first", required=False, label="Rows")
    count = forms.IntegerField(
        min_value=1, max_value=row_selection.MAX_ROWS, initial=8, required=False, label="How many"
    )
    seed = forms.IntegerField(min_value=0, max_value=2**31 - 1, initial=0, required=False, label="Seed")
    text = forms.CharField(max_length=500, required=False, label="Text in the row")
    ids = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), label="Row ids",
        help_text="Separated by spaces or lines; the first characters are enough.",
    )  # fmt: skip
    answers = forms.MultipleChoiceField(
        choices=ANSWERS, initial=["field"], label="Completions", widget=forms.CheckboxSelectMultiple
    )
    field = forms.CharField(
        required=False, max_length=200, initial="reference", label="Field",
        widget=forms.TextInput(attrs={"list": "fields", "autocomplete": "off"}),
    )  # fmt: skip
    answer = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 3}), label="Completion"
    )
    base_model = forms.ModelChoiceField(BaseModel.objects.none(), required=False, label="Base model")
    samples = forms.IntegerField(
        min_value=1, max_value=MAX_SAMPLES, initial=4, required=False, label="Samples a row"
    )
    second = forms.ModelChoiceField(
        GraderVersion.objects.none(), required=False, label="Compare with",
        help_text="Checks whether both graders rank completions the same way.",
    )  # fmt: skip
    choice_names = (
        "split", "pick", "count", "seed", "text", "ids", "answers", "field", "answer", "samples",
    )  # fmt: skip

    def __init__(
        self, *args: Any, versions: Any, base_models: Any, graders: Any, field_names: list[str], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.field_names = field_names
        self.offered = list(versions)
        bases, seconds = list(base_models), list(graders)
        self._set_choices(
            "version", versions, build_choices(self.offered, "dataset_id", describe_version), "---------"
        )
        self._set_choices("base_model", base_models, [(each.pk, str(each)) for each in bases], "---------")
        self._set_choices("second", graders, build_choices(seconds, "grader_id"), "nothing")
        self.fields["base_model"].initial = bases[0].pk if bases else None

    def _set_choices(self, name: str, objects: Any, choices: list[Any], nothing: str) -> None:
        """Set the choices as a list: the page reads them several times, and each would be a query."""
        field: Any = self.fields[name]
        field.queryset = objects
        field.choices = [("", nothing), *choices]

    def has_rows(self) -> bool:
        """Return True if there is a dataset to try the grader on."""
        return bool(self.offered)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for name in ("split", "pick", "count", "seed", "samples"):
            if cleaned.get(name) in ("", None):
                cleaned[name] = self.fields[name].initial
        if "base_model" in cleaned.get("answers", []) and not cleaned.get("base_model"):
            self.add_error("base_model", "Choose the model that writes the completions.")
        if cleaned.get("pick") == "search" and not cleaned.get("text"):
            self.add_error("text", "Enter the text to search for.")
        if cleaned.get("pick") == "ids" and not cleaned.get("ids", "").split():
            self.add_error("ids", "Enter the ids of the rows.")
        if "field" in cleaned.get("answers", []) and cleaned.get("version"):
            self._check_field(cleaned["version"], cleaned.get("field", ""), self.field_names)
        return cleaned

    def _check_field(self, version: DatasetVersion, field: str, known: list[str]) -> None:
        if field not in known:
            offered = f"It has {', '.join(known[:MOST_NAMED])}" if known else "Its rows have messages only"
            more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
            self.add_error("field", f"{version} has no field “{field}”. {offered}{more}.")

    def rows(self) -> list[Row]:
        """Return the selected rows."""
        data = self.cleaned_data
        version, split, count = data["version"], data["split"], data["count"]
        select: dict[str, Callable[[], list[Row]]] = {
            "first": lambda: row_selection.first_rows(version, split, count),
            "random": lambda: row_selection.random_rows(version, split, count, data["seed"]),
            "search": lambda: row_selection.search_rows(version, split, count, data["text"]),
            "ids": lambda: row_selection.rows_by_id(version, split, data["ids"].replace(",", " ").split()),
        }
        return select[data["pick"]]()

    def choices(self) -> dict[str, object]:
        """Return the form's values, to be stored with the trial."""
        return {name: self.cleaned_data[name] for name in self.choice_names}
