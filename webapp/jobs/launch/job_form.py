"""The new-job form. Settings come from the job spec: names, bounds and explanations stand there once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from django import forms
from django.utils.functional import cached_property
from pydantic.fields import FieldInfo

from webapp.core.labels import build_distinct_labels
from webapp.core.object_field import ObjectField
from webapp.datasets.labels import describe_version
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import GraderVersion
from webapp.jobs.launch import presets, suite_fields, task_fields
from webapp.jobs.services import MAX_SEED, SECTIONS, total_steps
from webapp.registry.models import BaseModel

SEPARATOR = "__"
LABELS = {
    "chat.grade": "Graders see",
    "chat.template_arguments": "Chat template arguments",
    "alarm.pause": "Pause on signs of reward hacking",
    "alarm.held_out_answers": "Held-out answers",
    "resources.gpus": "GPUs",
    "resources.cpu_cores": "CPU cores",
    "resources.gpu_memory_gib": "GPU memory, GiB",
    "preflight.rows": "Preflight rows",
    "preflight.samples_per_row": "Preflight answers a row",
    "preflight.on_no_go": "If the advice is against training",
}
EXPLANATIONS = {
    "chat.grade": "Of models that think first: the final answer, or the whole completion with thoughts.",
    "chat.template_arguments": "A JSON object for the base model's chat template, such as "
    '{"enable_thinking": false} or {"reasoning_effort": "low"}.',
    "lora.rank": "Size of the adapter. RL needs little: 1 to 32.",
    "lora.alpha": "Scale of the adapter's updates; usually twice the rank.",
    "lora.dropout": "Leave at 0 for RL.",
    "lora.targets": "Which layers get an adapter.",
    "grpo.group_size": "Answers drawn for one prompt; they are compared with each other.",
    "grpo.prompts_per_step": "Prompts in one optimiser step.",
    "grpo.learning_rate": "For LoRA about ten times that of full fine-tuning.",
    "grpo.warmup_steps": "Steps over which the learning rate rises to its value.",
    "grpo.beta": "Weight of the KL penalty. 0 leaves it out; the KL is measured all the same.",
    "grpo.temperature": "Sampling temperature for training and evaluation.",
    "grpo.loss_type": "How token losses are averaged.",
    "grpo.scale_rewards": "What advantages are divided by.",
    "grpo.epsilon": "Lower clip range of the probability ratio.",
    "grpo.epsilon_high": "Upper clip range of the probability ratio.",
    "grpo.max_grad_norm": "Gradients are clipped to this norm.",
    "grpo.max_prompt_length": "Tokens. Longer rows are refused before training, never cut.",
    "grpo.max_completion_length": "Tokens. Longer answers are cut and counted as truncated.",
    "grpo.mask_truncated_completions": "Leave cut answers out of the loss.",
    "grpo.max_steps": "Number of optimizer steps. Leave empty to run full epochs.",
    "grpo.epochs": "Passes over the train rows, where steps are not stated.",
    "grpo.checkpoint_every": "Steps between checkpoints.",
    "evaluation.samples_per_row": "k of pass@k, for the final comparison.",
    "evaluation.max_rows": "Held-out rows in the final comparison, of each task.",
    "evaluation.every": "Steps between validation runs; 0 leaves them out.",
    "evaluation.validation_samples_per_row": "Answers a row in validation runs.",
    "evaluation.validation_max_rows": "Rows in validation runs, of each task.",
    "evaluation.pass_threshold": "The reward from which an answer counts as right.",
    "evaluation.confidence": "Of every interval.",
    "evaluation.bootstrap_resamples": "Draws behind every interval.",
    "alarm.pause": "A sign of reward hacking pauses the job; otherwise it only shows on its page.",
    "alarm.held_out_answers": "Answers a step that the held-out grader grades.",
    "alarm.stuck_seconds": "Restart the job's process if it sends no heartbeat for this long (seconds).",
    "alarm.no_signal_steps": "Pause after this many consecutive steps without signal.",
    "alarm.least_entropy": "Nats a token. Below it for ten steps the job pauses; 0 never.",
    "preflight.rows": "Training rows that the base model answers before training; 0 skips it.",
    "preflight.samples_per_row": "Answers a row in the preflight, up to the k of its pass@k.",
    "preflight.on_no_go": "Whether the job waits for you when the advice is against training.",
    "resources.device": "cuda needs a worker with free GPUs.",
    "resources.gpus": "GPUs for this job.",
    "resources.cpu_cores": "CPU cores for this job.",
    "resources.gpu_memory_gib": "Least memory of each GPU.",
}


def _all(section: str, but: tuple[str, ...] = ()) -> tuple[str, ...]:
    places = (f"{section}.{name}" for name in SECTIONS[section].model_fields)
    return tuple(place for place in places if place not in but)


STEPS = tuple(f"grpo.{name}" for name in ("prompts_per_step", "group_size", "epochs", "checkpoint_every"))
ANSWERS = tuple(
    f"grpo.{name}"
    for name in ("temperature", "max_prompt_length", "max_completion_length", "mask_truncated_completions")
)
ADVANCED = (
    ("Steps", "What goes into one step, and how many there are.", STEPS),
    ("Answers", "How answers are drawn, and how long they may be.", ANSWERS),
    ("Chat template", "How prompts are rendered, and what graders see.", _all("chat")),
    ("Optimiser", "How the adapter follows the rewards.", _all("grpo", (*STEPS, *ANSWERS, "grpo.max_steps"))),
    ("Adapter", "What is trained: low-rank matrices beside the base model's.", ("start", *_all("lora"))),
    ("Preflight", "A trial before training, which says whether training can work.", _all("preflight")),
    ("Evaluation", "How base and tuned model are measured on held-out rows.", _all("evaluation")),
    ("Alarms", "What pauses a job that goes wrong.", ("held_out_grader", *_all("alarm"))),
    ("Resources", "What the job asks of a worker.", _all("resources")),
    ("Reproducibility", "What makes a job the same again.", ("seed",)),
)


@dataclass(frozen=True)
class Section:
    """Fields that belong together."""

    title: str
    about: str
    fields: list[forms.BoundField]


def _bounds(info: FieldInfo) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for mark in info.metadata:
        if isinstance(mark, Ge | Gt):
            bounds["min_value"] = mark.ge if isinstance(mark, Ge) else mark.gt
        if isinstance(mark, Le | Lt):
            bounds["max_value"] = mark.le if isinstance(mark, Le) else mark.lt
    return bounds


def _spoken(info: FieldInfo) -> str:
    """The bounds in words."""
    words = {Ge: "at least {.ge:,g}", Gt: "above {.gt:g}", Le: "at most {.le:,g}", Lt: "below {.lt:g}"}
    spoken = [words[type(mark)].format(mark) for mark in info.metadata if type(mark) in words]
    return f" {', '.join(spoken).capitalize()}." if spoken else ""


def _field(place: str, info: FieldInfo) -> forms.Field:
    """A form field for one setting of the spec."""
    kinds = [kind for kind in get_args(info.annotation) or (info.annotation,) if kind is not type(None)]
    common: dict[str, Any] = {
        "label": LABELS.get(place) or place.split(".")[1].replace("_", " ").capitalize(),
        "help_text": EXPLANATIONS[place] + _spoken(info),
        "required": type(None) not in get_args(info.annotation),
    }
    if get_origin(info.annotation) is dict:
        return ObjectField(**common | {"required": False})
    if get_origin(info.annotation) is Literal:
        return forms.ChoiceField(choices=[(kind, str(kind).replace("_", " ")) for kind in kinds], **common)
    if kinds == [bool]:
        return forms.BooleanField(**common | {"required": False})
    if kinds == [int]:
        return forms.IntegerField(**_bounds(info), **common)
    if kinds == [float]:
        widget = forms.NumberInput(attrs={"step": "any"})
        return forms.FloatField(**_bounds(info), widget=widget, **common)
    return forms.CharField(**common)


class JobForm(forms.Form):
    """Five choices, and every setting of the spec under "Advanced"."""

    ticket = forms.CharField(
        max_length=22, required=False, widget=forms.HiddenInput, initial=lambda: secrets.token_urlsafe(16)
    )
    name = forms.CharField(max_length=120, initial="Job")
    base_model = forms.ModelChoiceField(BaseModel.objects.none(), to_field_name="uid")
    dataset_version = forms.ModelChoiceField(
        DatasetVersion.objects.none(), to_field_name="uid", label="Dataset"
    )
    grader_version = forms.ModelChoiceField(GraderVersion.objects.none(), to_field_name="uid", label="Grader")

    held_out_grader = forms.ModelChoiceField(
        GraderVersion.objects.none(),
        to_field_name="uid",
        required=False,
        label="Held-out grader",
        help_text="A second grader that is never trained against. It grades the same answers: when the "
        "reward rises and its score does not, the job is gaming its grader.",
    )

    def __init__(
        self, data: Any = None, *, base_models: Any, versions: Any, graders: Any, starts: Any,
        settings: dict[str, Any], recommended: dict[str, Any], initial: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(data, initial=initial)
        for name, choices in {
            "base_model": base_models, "dataset_version": versions, "grader_version": graders,
            "held_out_grader": graders,
        }.items():  # fmt: skip
            field: Any = self.fields[name]
            field.queryset = choices
            labels = build_distinct_labels(choices, describe_version if name == "dataset_version" else str)
            field.choices = [  # of the rows that the caller has read already
                ("", "---------" if field.required else "none"),
                *((each.uid, labels[each.pk]) for each in choices),
            ]
        task_fields.add_fields(self, data, initial.get("tasks", ()), starts)
        suite_fields.add_fields(self, data, initial.get("suites", ()))
        for section, model in SECTIONS.items():
            for name, info in model.model_fields.items():
                self.fields[section + SEPARATOR + name] = _field(f"{section}.{name}", info)
        self.fields["seed"] = forms.IntegerField(
            min_value=0, max_value=MAX_SEED, help_text="Same seed, same job on CPU."
        )
        self._recommended = self.advice(recommended)
        for name, value in self.advice(settings).items():
            self.fields[name].initial = value

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name, message in (task_fields.check(cleaned) | suite_fields.check(cleaned)).items():
            self.add_error(name, message)
        return cleaned

    @property
    def basics(self) -> list[forms.BoundField]:
        """The choices that a person must make."""
        return [self[name] for name in ("base_model", "dataset_version", "grader_version")]

    @property
    def task_rows(self) -> list[task_fields.TaskRow]:
        """The fields of each of several tasks."""
        return task_fields.rows(self)

    @property
    def suite_rows(self) -> list[suite_fields.SuiteRow]:
        """The fields of each suite of the team's own."""
        return suite_fields.rows(self)

    @property
    def built_in_suites(self) -> list[forms.BoundField]:
        """Boxes for the suites that ship with Groove, and their margin."""
        return suite_fields.built_in_fields(self)

    @property
    def mistaken(self) -> bool:
        """Whether a field under "Advanced" holds a mistake: it must be seen."""
        return any(field.errors for section in self.sections for field in section.fields)

    @property
    def length(self) -> forms.BoundField:
        return self["grpo__max_steps"]

    @cached_property
    def presets(self) -> list[presets.Preset]:
        """Of the base model's recommended settings, whatever the form starts with.

        One is marked if the form holds just its values.
        """
        version, standard = self.values["dataset_version"], self._recommended
        grpo = {name: standard[f"grpo__{name}"] for name in ("epochs", "prompts_per_step")}
        epochs = grpo | {"max_steps": None}
        return presets.of(standard, total_steps(epochs, version) if version else None)

    @property
    def preset(self) -> str:
        """The key of the preset whose values the form holds."""
        values = self.values
        held = {name: values[name] for name in presets.WORDS}
        return next((preset.key for preset in self.presets if preset.values == held), "")

    def use_preset(self, key: str) -> None:
        """Start with the values of a preset."""
        for preset in self.presets:
            if preset.key == key:
                for name, value in preset.values.items():
                    self.fields[name].initial = value

    @property
    def sections(self) -> list[Section]:
        """Everything under "Advanced"."""
        return [
            Section(title, about, [self[place.replace(".", SEPARATOR)] for place in places])
            for title, about, places in ADVANCED
        ]

    @property
    def values(self) -> dict[str, Any]:
        """What each field holds now: what was sent, where it is valid; otherwise what it starts with."""
        values = {name: self.get_initial_for_field(field, name) for name, field in self.fields.items()}
        if self.is_bound:
            self.is_valid()
            values |= self.cleaned_data
        return values

    def settings(self) -> dict[str, Any]:
        """What was chosen, as ``services.create_job`` takes it."""
        values = self.values
        chosen: dict[str, Any] = {
            section: {name: values[section + SEPARATOR + name] for name in model.model_fields}
            for section, model in SECTIONS.items()
        }
        return chosen | {"seed": values["seed"]}

    def advice(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Field -> its value in ``settings``, which a base model recommends, or the spec's default."""
        return {
            section + SEPARATOR + name: settings.get(section, {}).get(
                name, info.get_default(call_default_factory=True)
            )
            for section, model in SECTIONS.items()
            for name, info in model.model_fields.items()
        } | {"seed": settings.get("seed", 0)}

    def is_own(self, name: str) -> bool:
        """Whether the person put in another value than the form started with, be it a wrong one."""
        return name in self.errors or self.cleaned_data[name] != self.fields[name].initial

    def add_setting_errors(self, errors: dict[str, str]) -> None:
        """Put the spec's complaints beside the fields they are about."""
        for place, message in errors.items():
            name = place.replace(".", SEPARATOR)
            self.add_error(name if name in self.fields else None, message)
