"""Forms of environments."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms

from webapp.environments.models import Environment, EnvironmentVersion
from webapp.environments.services import SourceInvalid, hash_source
from workers.contract.environments import MAX_ENVIRONMENT_SOURCE_BYTES
from workers.environments.examples import list_examples

MOST_TASKS = 20_000


class NewEnvironmentForm(forms.Form):
    """A named environment that starts from an example."""

    name = forms.CharField(max_length=120, help_text="What it simulates, for example “Refund desk”.")
    example = forms.ChoiceField(widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = list_examples()
        field: Any = self.fields["example"]
        field.choices = [(example.key, example.title) for example in self.examples]
        field.initial = self.examples[0].key

    @property
    def selected(self) -> str:
        """The example that is selected."""
        return str(self["example"].value())

    @property
    def source(self) -> str:
        """The source of the selected example."""
        chosen = self.cleaned_data["example"]
        return next(example.source for example in self.examples if example.key == chosen)


class SourceForm(forms.Form):
    """The text of the editor, to save as a version, with a note on what changed."""

    source = forms.CharField(strip=False, max_length=MAX_ENVIRONMENT_SOURCE_BYTES, widget=forms.Textarea)
    note = forms.CharField(max_length=200, required=False, label="What changed")

    def __init__(self, *args: Any, environment: Environment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.environment = environment

    def clean_source(self) -> str:
        source: str = self.cleaned_data["source"].replace("\r\n", "\n")
        try:
            hash_source(source)
        except SourceInvalid as error:
            raise forms.ValidationError(str(error)) from error
        return source

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.environment.deleted_at:
            self.add_error(None, "This environment is deleted. Restore it, then save your text.")
        return cleaned


class DescriptionForm(forms.ModelForm):  # type: ignore[type-arg]
    """An environment's name, and its purpose in one line."""

    class Meta:
        model = Environment
        fields = ("name", "description")
        help_texts: ClassVar = {
            "name": "Pages of jobs show it too, also of finished jobs.",
            "description": "What it simulates, in one line.",
        }


class TaskDatasetForm(forms.Form):
    """How many tasks become rows."""

    most = forms.IntegerField(
        min_value=1, max_value=MOST_TASKS, initial=2000, label="Tasks of each split, at most"
    )


class TaskForm(forms.Form):
    """The task to play: a split and the number of a task there."""

    split = forms.ChoiceField()
    number = forms.IntegerField(min_value=1, initial=1, label="Task")

    def __init__(self, *args: Any, version: EnvironmentVersion, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inspection = getattr(version, "inspection", None)
        self.found = inspection.found if inspection else None
        splits = [split for split in self.found.splits if split.tasks] if self.found else []
        field: Any = self.fields["split"]
        field.choices = [(split.name, f"{split.name} ({split.count:,})") for split in splits]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        split = self.found.get_split(cleaned.get("split", "")) if self.found else None
        if split and (number := cleaned.get("number")):
            if number > len(split.tasks):
                self.add_error("number", f"Choose one of the first {len(split.tasks)} tasks.")
            else:
                cleaned["task"] = split.tasks[number - 1]
        return cleaned
