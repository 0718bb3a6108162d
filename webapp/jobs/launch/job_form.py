"""The new-job form. Names and bounds of settings come from the job spec."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from django import forms
from django.utils.functional import cached_property
from pydantic.fields import FieldInfo

from webapp.core.labels import build_distinct_labels
from webapp.core.object_field import ObjectField
from webapp.datasets.labels import describe_version
from webapp.datasets.models import DatasetVersion
from webapp.environments.models import EnvironmentVersion
from webapp.graders.models import GraderVersion
from webapp.jobs.launch import adapter_field, presets, row_formsets
from webapp.jobs.launch.request import SuiteChoice, TaskChoice, single_task
from webapp.jobs.launch.steps import count_steps
from webapp.registry.models import BaseModel
from workers.contract.spec import MAX_SEED, SECTIONS, GrpoSettings, JobSettings
from workers.starter.suites import SUITES

SEPARATOR = "__"
SUITE_PARTS = ("dataset_version", "grader_version")
PARTS = (*SUITE_PARTS, "environment_version")  # of a task
BUILT_IN, MARGIN = "suite_built_in__{}", "suite_built_in_margin"
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
    "episode.max_turns": "Turns of the model in an environment, at most.",
    "episode.max_tool_calls": "Below the environment's own limit. Leave empty to keep that.",
    "episode.max_observation_characters": "Longer results of tools are cut, and the cut is marked.",
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
    ("Episodes", "Limits of tasks that are played in an environment.", _all("episode")),
    ("Chat template", "How prompts are rendered, and what graders see.", _all("chat")),
    ("Optimiser", "How the adapter follows the rewards.", _all("grpo", (*STEPS, *ANSWERS, "grpo.max_steps"))),
    (
        "Adapter",
        "What is trained: low-rank matrices beside the base model's.",
        ("initial_adapter", *_all("lora")),
    ),
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


def _describe_bounds(info: FieldInfo) -> str:
    """Describe the bounds in words."""
    words = {Ge: "at least {.ge:,g}", Gt: "above {.gt:g}", Le: "at most {.le:,g}", Lt: "below {.lt:g}"}
    spoken = [words[type(mark)].format(mark) for mark in info.metadata if type(mark) in words]
    return f" {', '.join(spoken).capitalize()}." if spoken else ""


def _field(place: str, info: FieldInfo) -> forms.Field:
    """A form field for one setting of the spec."""
    kinds = [kind for kind in get_args(info.annotation) or (info.annotation,) if kind is not type(None)]
    common: dict[str, Any] = {
        "label": LABELS.get(place) or place.split(".")[1].replace("_", " ").capitalize(),
        "help_text": EXPLANATIONS[place] + _describe_bounds(info),
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

    environment_version = forms.ModelChoiceField(
        EnvironmentVersion.objects.none(),
        to_field_name="uid",
        required=False,
        label="Environment",
        help_text="The rows are its tasks, and the model plays them. Leave empty for single completions.",
    )
    held_out_grader = forms.ModelChoiceField(
        GraderVersion.objects.none(),
        to_field_name="uid",
        required=False,
        label="Held-out grader",
        help_text="A second grader that is never trained against. It grades the same answers: when the "
        "reward rises and its score does not, the job is gaming its grader.",
    )

    def __init__(
        self, data: Any = None, *, base_models: Any, versions: Any, graders: Any, environments: Any,
        starts: Any, settings: dict[str, Any], recommended: dict[str, Any], initial: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(data, initial=initial)
        for name, choices in {
            "base_model": base_models, "dataset_version": versions, "grader_version": graders,
            "held_out_grader": graders, "environment_version": environments,
        }.items():  # fmt: skip
            field: Any = self.fields[name]
            field.queryset = choices
            labels = build_distinct_labels(choices, describe_version if name == "dataset_version" else str)
            field.choices = [  # of the rows that the caller has read already
                ("", "---------" if field.required else "none"),
                *((each.uid, labels[each.pk]) for each in choices),
            ]
        if not environments:
            del self.fields["environment_version"]
        self.fields["initial_adapter"] = adapter_field.build_field(
            starts, initial.get("initial_adapter"), data
        )
        self._add_rows(data, initial.get("tasks", ()), initial.get("suites", ()))
        for section, model in SECTIONS.items():
            for name, info in model.model_fields.items():
                self.fields[section + SEPARATOR + name] = _field(f"{section}.{name}", info)
        self.fields["seed"] = forms.IntegerField(
            min_value=0, max_value=MAX_SEED, help_text="Same seed, same job on CPU."
        )
        self._recommended = self.recommend_values(recommended)
        for name, value in self.recommend_values(settings).items():
            self.fields[name].initial = value

    def _add_rows(self, data: Any, tasks: Sequence[TaskChoice], suites: Sequence[SuiteChoice]) -> None:
        """Add the rows of tasks and suites, and a box for each built-in suite."""
        choices = {name: self.fields[name] for name in PARTS if name in self.fields}
        self.task_rows = row_formsets.TaskFormSet(
            row_formsets.bind_rows(data, row_formsets.TASKS, row_formsets.ADD_TASK),
            prefix=row_formsets.TASKS,
            initial=row_formsets.task_rows(tasks),
            form_kwargs={"choices": choices},
        )
        self.suite_rows = row_formsets.SuiteFormSet(
            row_formsets.bind_rows(data, row_formsets.SUITES, row_formsets.ADD_SUITE),
            prefix=row_formsets.SUITES,
            initial=row_formsets.suite_rows(suites),
            form_kwargs={"choices": {name: choices[name] for name in SUITE_PARTS}},
        )
        built_in = {suite.built_in: suite for suite in suites if suite.built_in}
        for key, suite in SUITES.items():
            self.fields[BUILT_IN.format(key)] = forms.BooleanField(
                required=False, label=suite.title, help_text=suite.description, initial=key in built_in
            )
        self.fields[MARGIN] = forms.FloatField(
            min_value=0,
            required=False,
            label="Each of them may lose",
            initial=next(iter(built_in.values())).max_loss if built_in else None,
            widget=forms.NumberInput(attrs={"step": "any"}),
            help_text=row_formsets.MAX_LOSS_HELP,
        )

    def is_valid(self) -> bool:
        # Rows that were not sent are left out, as by a client that launches with the job's own fields.
        rows = [rows.is_valid() for rows in (self.task_rows, self.suite_rows) if rows.is_bound]
        return super().is_valid() and all(rows)

    @property
    def has_errors(self) -> bool:
        """True if a field or a row is wrong."""
        return bool(self.errors) or any(self.task_rows.errors) or any(self.suite_rows.errors)

    def read_tasks(self) -> list[TaskChoice]:
        """Return the tasks that are filled in; the only one has no name. Empty without rows and grader."""
        values = self.values
        version, grader = (values[name] for name in SUITE_PARTS)
        if not version:
            return []
        first, *others = self.task_rows.forms
        more = [
            row.read_choice(*map(row.values.get, PARTS))
            for row in others
            if all(row.values[name] for name in SUITE_PARTS)
        ]
        environment = values.get("environment_version")
        if not more:
            return single_task(version, grader, environment)
        return [first.read_choice(version, grader, environment), *more]

    def read_suites(self) -> list[SuiteChoice]:
        """Return the suites that are ticked or filled in, each with a name of its own."""
        values = self.values
        suites = [
            SuiteChoice(suite.title, built_in=key, max_loss=values[MARGIN])
            for key, suite in SUITES.items()
            if values[BUILT_IN.format(key)]
        ]
        for row in self.suite_rows.forms:
            version, grader = row.values["dataset_version"], row.values["grader_version"]
            if version and grader:
                name = _number_name(version.dataset.name, {suite.name for suite in suites})
                suites.append(SuiteChoice(name, "", version, grader, row.values["max_loss"]))
        return suites

    @property
    def basics(self) -> list[forms.BoundField]:
        """The choices that a person must make; of an environment only if the team has one."""
        return [self[name] for name in ("base_model", *PARTS) if name in self.fields]

    @property
    def built_in_suites(self) -> list[forms.BoundField]:
        """Boxes for the suites that ship with Groove, and their margin."""
        return [*(self[BUILT_IN.format(key)] for key in SUITES), self[MARGIN]]

    @property
    def mistaken(self) -> bool:
        """True if a field under "Advanced" is wrong: that section must be open."""
        return any(field.errors for section in self.sections for field in section.fields)

    @property
    def length(self) -> forms.BoundField:
        return self["grpo__max_steps"]

    @cached_property
    def presets(self) -> list[presets.Preset]:
        """Presets around the base model's recommended settings, whatever the form starts with."""
        version, standard = self.values["dataset_version"], self._recommended
        grpo = {name: standard[f"grpo__{name}"] for name in ("epochs", "prompts_per_step")}
        epochs = grpo | {"max_steps": None}
        steps = count_steps(GrpoSettings.model_construct(**epochs), version) if version else None
        return presets.build_presets(standard, steps)

    @property
    def preset(self) -> str:
        """The key of the preset whose values the form has; empty for none."""
        values = self.values
        held = {name: values[name] for name in presets.WORDS}
        return next((preset.key for preset in self.presets if preset.values == held), "")

    def use_preset(self, key: str) -> None:
        """Start with the values of a preset."""
        for preset in self.presets:
            if preset.key == key:
                for name, value in preset.values.items():
                    self.fields[name].initial = value

    def use_settings(self, values: Mapping[str, object]) -> None:
        """Start with the values of some settings, by the names of their fields."""
        for name, value in values.items():
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
        """Each field's value: what was sent, where it is valid; otherwise its initial value."""
        values = {name: self.get_initial_for_field(field, name) for name, field in self.fields.items()}
        if self.is_bound:
            super().is_valid()
            values |= self.cleaned_data
        return values

    def settings(self) -> dict[str, object]:
        """The sections of ``JobSettings`` as they are filled in, which ``launch`` checks."""
        values = self.values
        sections = {
            section: {name: values[section + SEPARATOR + name] for name in model.model_fields}
            for section, model in SECTIONS.items()
        }
        return sections | {"seed": values["seed"]}

    def draft_settings(self) -> JobSettings:
        """The settings as they are filled in, each within its bounds; together they may not fit yet."""
        values = self.values
        sections: dict[str, Any] = {
            section: model.model_construct(
                **{name: values[section + SEPARATOR + name] for name in model.model_fields}
            )
            for section, model in SECTIONS.items()
        }
        return JobSettings.model_construct(**sections, seed=values["seed"])

    def recommend_values(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return each field's value in ``settings``, or the default of the spec."""
        return {
            section + SEPARATOR + name: settings.get(section, {}).get(
                name, info.get_default(call_default_factory=True)
            )
            for section, model in SECTIONS.items()
            for name, info in model.model_fields.items()
        } | {"seed": settings.get("seed", 0)}

    def is_changed(self, name: str) -> bool:
        """True if the user changed the field, valid or not."""
        return name in self.errors or self.cleaned_data[name] != self.fields[name].initial

    def add_setting_errors(self, errors: Mapping[str, str]) -> None:
        """Add what ``launch`` refuses to the fields that it is about."""
        for path, message in errors.items():
            if task := re.fullmatch(r"task_(\d+)\.(\w+)", path):
                self.task_rows.forms[int(task[1]) - 1].add_error(task[2], message)
                continue
            name = path.replace(".", SEPARATOR)
            self.add_error(name if name in self.fields else None, message)


def _number_name(name: str, taken: set[str]) -> str:
    """Return the name, with a number if it is taken."""
    name = name[:110]
    numbered = (f"{name} {number}" for number in count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)
