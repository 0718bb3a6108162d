"""Forms of base models and adapters."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from pydantic import ValidationError

from webapp.core.object_field import ObjectField
from webapp.registry.models import BaseModel
from webapp.teams.models import Team
from workers.contract.base_models import chat_templates
from workers.contract.base_models.sources import REVISION, SOURCES, find_source
from workers.contract.json_types import JsonObject
from workers.contract.spec import MAX_TEMPLATE, BaseModelRef

OWN, TYPED = "", "typed"


class AdapterForm(forms.Form):
    """A PEFT adapter to upload."""

    name = forms.CharField(max_length=160, help_text="The name in lists and jobs.")
    base_model = forms.ModelChoiceField(
        BaseModel.objects.none(),
        to_field_name="uid",
        empty_label="Choose one",
        help_text="The model that it was trained on. Another model of the same size would load, and write "
        "nonsense.",
    )
    archive = forms.FileField(
        label="Adapter, as a zip file",
        help_text="The folder that PEFT's save_pretrained wrote. Only adapter_config.json and "
        "adapter_model.safetensors are used.",
    )

    def __init__(self, *args: Any, base_models: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["base_model"].queryset = base_models  # type: ignore[attr-defined]

    def clean_archive(self) -> Any:
        archive = self.cleaned_data["archive"]
        if archive.size > settings.MAX_UPLOAD_BYTES:
            raise forms.ValidationError("The file is larger than this server allows.")
        return archive


class BaseModelForm(forms.Form):
    """A model on the Hugging Face hub, or a folder on the workers."""

    model_id = forms.CharField(
        max_length=200,
        label="Hugging Face id, or a name for a folder",
        help_text="As organisation/name, for example Qwen/Qwen3-0.6B. It goes into the adapter's config.",
    )
    revision = forms.CharField(
        max_length=80,
        required=False,
        help_text="Branch, tag or commit. A commit makes runs repeatable. Empty: the newest.",
    )
    path = forms.CharField(
        max_length=500,
        required=False,
        label=" or ".join(source.path_label for source in SOURCES if source.path_label),
        help_text=" ".join(source.path_help for source in SOURCES if source.path_help),
    )

    chat_template = forms.ChoiceField(
        required=False,
        choices=[
            (OWN, "The model's own"),
            *((key, label) for key, (label, _) in chat_templates.SHIPPED.items()),
            (TYPED, "Typed below"),
        ],
        help_text="Only for a model without a suitable template. It must be the template that the model was "
        "trained with.",
    )
    typed_template = forms.CharField(
        max_length=MAX_TEMPLATE,
        required=False,
        strip=False,
        label="Chat template in Jinja",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="As in tokenizer.chat_template. It is tested on a question before it is saved.",
    )
    template_arguments = ObjectField(
        required=False,
        initial=dict,
        label="Chat template arguments",
        help_text="A JSON object that every job with this model passes to the template, such as "
        '{"enable_thinking": false}. Jobs can add to it.',
    )

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.team = team

    def clean_template_arguments(self) -> JsonObject:
        arguments: JsonObject = self.cleaned_data["template_arguments"]
        try:
            BaseModelRef(id="any", template_arguments=arguments)
        except ValidationError as error:
            raise forms.ValidationError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return arguments

    def clean_revision(self) -> str:
        revision: str = self.cleaned_data["revision"]
        if revision and not REVISION.fullmatch(revision):
            raise forms.ValidationError("A revision is a branch, tag or commit: letters, digits and . _ / -")
        return revision

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            self._check_source(cleaned)
        if not self.errors:
            self._choose_template(cleaned)
        if not self.errors and BaseModel.objects.filter(team=self.team, **cleaned).exists():
            self.add_error("model_id", "This team already has this model.")
        return cleaned

    def _choose_template(self, cleaned: dict[str, Any]) -> None:
        """Replace the key of the selected template by its text, after a test."""
        key, typed = cleaned["chat_template"], cleaned.pop("typed_template")
        if key == OWN:
            if typed.strip():
                self.add_error("chat_template", "Choose “Typed below” to use the typed template.")
            return
        name = "typed_template" if key == TYPED else "chat_template"
        template = typed if key == TYPED else chat_templates.SHIPPED[key][1]
        if not template.strip():
            self.add_error(name, "Enter the template, or choose another one.")
            return
        try:
            chat_templates.check(template, cleaned["template_arguments"])
        except chat_templates.TemplateRefused as error:
            self.add_error(name, f"This template cannot be used: {error}.")
        cleaned["chat_template"] = template

    def _check_source(self, cleaned: dict[str, Any]) -> None:
        source = find_source(cleaned["model_id"], cleaned["revision"], cleaned["path"])
        if problem := source.find_problem(settings.BASE_MODEL_ROOTS):
            field, message = problem
            self.add_error("model_id" if field == "id" else field, message)


class PurgeForm(forms.Form):
    """The confirmation before a model's files are removed."""

    confirmed = forms.CharField(label="The model's id, to confirm")

    def __init__(self, *args: Any, uid: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.uid = uid

    def clean_confirmed(self) -> str:
        confirmed: str = self.cleaned_data["confirmed"]
        if confirmed != self.uid:
            raise forms.ValidationError(f"Type {self.uid}, exactly. Nothing was removed.")
        return confirmed
