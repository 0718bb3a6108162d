"""The job spec: all inputs of one job as plain data.

The web application writes it, the engine reads it; neither imports the other. Defaults and bounds are defined
here once; their sources are in ``docs/design.md`` ("Defaults").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from workers.contract.base_models.sources import BaseSource, find_source
from workers.contract.environments import Environment, EpisodeSettings
from workers.contract.graders import Grader
from workers.contract.json_types import JsonObject
from workers.contract.methods import METHODS
from workers.contract.schema import Frozen

SPEC_VERSION: Final = 1
MAX_SEED = 2_147_483_647
MAX_TEMPLATE = 64_000  # characters of a chat template; the longest that TRL bundles has 20,000
MAX_ARGUMENTS = 4096
RESERVED_ARGUMENTS = frozenset(
    {
        "messages", "conversation", "conversations", "tools", "documents", "chat_template", "tokenize",
        "add_generation_prompt", "continue_final_message", "padding", "truncation", "max_length",
        "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "self",
        "sanitize_control_tokens",
    }
)  # fmt: skip


class JudgeEndpoint(Frozen):
    """The endpoint of a judge model and its limits for one job. Its key is never part of a spec."""

    base_url: str = Field(description="an OpenAI-compatible API, up to and including /v1")
    model: str = Field(description="the endpoint's own name of the model")
    revision: str = Field(default="", description="identifies URL and model in cache keys")
    on_this_worker: bool = Field(
        default=False, description="served by this worker: only its loopback address may be reached"
    )
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    concurrency: int = Field(default=16, ge=1, le=256, description="requests in flight")
    timeout_seconds: float = Field(default=60.0, gt=0, le=600)
    input_price: float = Field(default=0.0, ge=0, description="money for a million prompt tokens")
    output_price: float = Field(default=0.0, ge=0, description="money for a million completion tokens")
    budget: float | None = Field(default=None, gt=0, description="money that one job may spend")
    spent: float = Field(default=0.0, ge=0, description="money that earlier attempts at the job have spent")


def _check_template_arguments(arguments: JsonObject) -> JsonObject:
    """Raise ``ValueError`` for names that rendering itself uses, and for too many characters."""
    for name in arguments:
        if not name.isidentifier() or name in RESERVED_ARGUMENTS:
            raise ValueError(
                f"{name!r} cannot be a template argument: rendering uses it, or it is not a name"
            )
    if len(json.dumps(arguments)) > MAX_ARGUMENTS:
        raise ValueError(f"template arguments take at most {MAX_ARGUMENTS} characters as JSON")
    return arguments


TemplateArguments = Annotated[JsonObject, AfterValidator(_check_template_arguments)]


class BaseModelRef(Frozen):
    """The model that is tuned. The adapter's config has its ``id``; ``path``, if set, is loaded instead.

    Its ``source`` determines how it is loaded and named.
    """

    id: str = Field(description="Hugging Face id, or the name of a local model")
    revision: str | None = None
    path: str | None = Field(default=None, description="local folder that holds the weights")
    chat_template: str | None = Field(
        default=None, max_length=MAX_TEMPLATE, description="Jinja, in place of the tokenizer's own"
    )
    template_arguments: TemplateArguments = Field(
        default_factory=dict, description="of the chat template, besides the messages"
    )

    @property
    def source(self) -> BaseSource:
        """Source of the model's files."""
        return find_source(self.id, self.revision, self.path)

    def resolve(self, root: Path) -> BaseModelRef:
        """Return the same with a relative folder made absolute below ``root``."""
        return self.model_copy(update={"path": self.source.resolve_path(root) or None})


class ChatSettings(Frozen):
    """Arguments of the chat template, and what graders see of completions with thoughts."""

    grade: Literal["final", "whole"] = Field(
        default="final", description="graders see the final answer, or thoughts and answer as one text"
    )
    template_arguments: TemplateArguments = Field(
        default_factory=dict, description="added to the base model's; equal names replace them"
    )


class DataFile(Frozen):
    """A JSON Lines file: one object per row with ``row_id``, ``messages`` and ``item`` (the other fields)."""

    path: str
    sha256: str
    rows: int = Field(ge=0)


class DatasetFiles(Frozen):
    """The three splits. ``test`` is sealed: the engine reads it once, after training."""

    sha256: str = Field(description="hash of the dataset version that the splits come from")
    train: DataFile
    validation: DataFile | None = None
    test: DataFile | None = None
    test_opened: str = Field(default="", description="date on which people first saw test rows, if they did")


class Task(Frozen):
    """One of several tasks that share the adapter. Rows name theirs in the field ``task``."""

    grader: Grader
    grader_sha256: str
    weight: float = Field(default=1.0, gt=0, le=100, description="relative share of a step's prompts")
    environment: Environment | None = Field(default=None, description="its rows are played as episodes")


class Suite(Frozen):
    """Rows that the model should still do after training, and their grader (retention)."""

    name: str = Field(min_length=1, max_length=120)
    rows: DataFile
    grader: Grader
    max_loss: float | None = Field(default=None, ge=0, description="gate: the reward that the suite may lose")


class AdapterRef(Frozen):
    """A PEFT adapter from which training continues. It is the reference of the KL, not the base."""

    id: str = Field(description="its name for people")
    path: str = Field(description="folder with adapter_config.json and adapter_model.safetensors")
    sha256: str = Field(description="of adapter_model.safetensors")


class PromotedFrom(Frozen):
    """The checkpoint that becomes a model without further training."""

    job_id: str
    step: int = Field(ge=1)


class LoraSettings(Frozen):
    """The adapter's shape (TRL's LoRA guide; 'LoRA Without Regret')."""

    rank: int = Field(default=16, ge=1, le=256)
    alpha: int = Field(default=32, ge=1, le=1024)
    dropout: float = Field(default=0.0, ge=0.0, le=0.5)
    targets: str = "all-linear"


class GrpoSettings(Frozen):
    """Settings of TRL's GRPOTrainer, under TRL's names where there is one."""

    group_size: int = Field(default=8, ge=2, le=64, description="rollouts of one prompt")
    prompts_per_step: int = Field(default=8, ge=1, le=256)
    learning_rate: float = Field(default=2e-5, gt=0, le=0.1)
    warmup_steps: int = Field(default=3, ge=0)
    beta: float = Field(default=0.0, ge=0, le=10, description="weight of the KL penalty")
    temperature: float = Field(default=1.0, gt=0, le=2)
    loss_type: Literal["dapo", "dr_grpo", "grpo", "bnpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    epsilon: float = Field(default=0.2, gt=0, lt=1, description="lower clip range")
    epsilon_high: float = Field(default=0.28, gt=0, lt=10, description="upper clip range")
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_prompt_length: int = Field(default=1024, ge=1, description="tokens; longer rows are refused")
    max_completion_length: int = Field(default=256, ge=1, description="tokens")
    mask_truncated_completions: bool = False
    max_steps: int | None = Field(default=None, ge=1, description="overrides epochs")
    epochs: int = Field(default=1, ge=1, le=50)
    checkpoint_every: int = Field(default=20, ge=1, description="steps")

    @property
    def rollouts_per_step(self) -> int:
        """Rollouts of all processes together."""
        return self.group_size * self.prompts_per_step


class EvaluationSettings(Frozen):
    """Comparison of base and tuned on held-out rows."""

    samples_per_row: int = Field(default=8, ge=1, le=64, description="k of pass@k")
    max_rows: int = Field(default=200, ge=1, description="rows of a split that are used, of each task")
    every: int = Field(default=20, ge=0, description="steps between validation runs; 0 is never")
    validation_samples_per_row: int = Field(default=4, ge=1, le=64)
    validation_max_rows: int = Field(default=32, ge=1)
    pass_threshold: float = Field(default=0.999, description="reward that counts as right")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    bootstrap_resamples: int = Field(default=2000, ge=100, le=100_000)


class PreflightSettings(Frozen):
    """Measures before training whether the job can work, by graded base rollouts on training rows."""

    rows: int = Field(default=24, ge=0, le=500, description="training rows sampled; 0 skips it")
    samples_per_row: int = Field(default=16, ge=2, le=64)
    on_no_go: Literal["pause", "go_on"] = Field(
        default="pause", description="what happens when the advice is against training"
    )


class AlarmRules(Frozen):
    """Thresholds at which a job raises alarms and pauses (``workers/contract/health``)."""

    pause: bool = Field(default=False, description="a reward-hacking alarm pauses the job")
    held_out_answers: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="completions of a step that the held-out grader grades, at most",
    )
    stuck_seconds: float = Field(
        default=900.0, ge=10, description="without an event for this long the engine counts as stuck"
    )
    no_signal_steps: int = Field(
        default=20, ge=2, description="steps in a row without any group signal that pause the job"
    )
    least_entropy: float = Field(
        default=1e-4, ge=0, description="nats a token; below it for ten steps the job pauses"
    )


class AlarmSettings(AlarmRules):
    """Settings of alarms. The held-out ``grader`` is never trained against."""

    grader: Grader | None = None


class SftSettings(Frozen):
    """Supervised fine-tuning on demonstrations."""

    rows: DataFile = Field(description="row_id, messages, completion")
    learning_rate: float = Field(default=2e-4, gt=0, le=0.1)
    epochs: int = Field(default=3, ge=1, le=100)
    batch_size: int = Field(default=16, ge=1, le=512)


class Resources(Frozen):
    """Devices that the job needs."""

    device: Literal["cpu", "cuda"] = "cpu"
    gpus: int = Field(default=0, ge=0, le=64)
    cpu_cores: int = Field(default=1, ge=1, le=256)
    gpu_memory_gib: float = Field(default=0.0, ge=0, description="least free memory of each GPU")

    @model_validator(mode="after")
    def _gpus_match_device(self) -> Resources:
        if (self.device == "cuda") != (self.gpus > 0):
            raise ValueError("device 'cuda' needs gpus of at least 1, and device 'cpu' needs gpus 0")
        return self


class JobSettings(Frozen):
    """Everything about a job that a person may set, with its defaults."""

    lora: LoraSettings = LoraSettings()
    grpo: GrpoSettings = GrpoSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    chat: ChatSettings = ChatSettings()
    episode: EpisodeSettings = EpisodeSettings()
    preflight: PreflightSettings = PreflightSettings()
    alarm: AlarmRules = AlarmRules()
    resources: Resources = Resources()
    seed: int = Field(default=0, ge=0, le=MAX_SEED)


SECTIONS: dict[str, type[Frozen]] = {
    "lora": LoraSettings,
    "grpo": GrpoSettings,
    "evaluation": EvaluationSettings,
    "chat": ChatSettings,
    "episode": EpisodeSettings,
    "preflight": PreflightSettings,
    "alarm": AlarmRules,
    "resources": Resources,
}


class JobSpec(JobSettings):
    """One job. The engine needs only a folder with this file and the files that it names."""

    version: Literal[1] = SPEC_VERSION
    job_id: str
    model_name: str = Field(description="name of the tuned model")
    base_model: BaseModelRef
    dataset: DatasetFiles
    grader: Grader
    grader_sha256: str
    tasks: dict[str, Task] = Field(
        default_factory=dict, max_length=8, description="by name; a row without a task has ``grader``"
    )
    environment: Environment | None = Field(
        default=None, description="that the rows without a task are played in: ``item`` is a row's task"
    )
    method: str = Field(default="rft", description="one of ``contract.methods``")
    initial_adapter: AdapterRef | None = None
    sft: SftSettings | None = None
    promoted_from: PromotedFrom | None = None
    suites: list[Suite] = Field(default_factory=list, max_length=16)
    alarm: AlarmSettings = AlarmSettings()
    judges: dict[str, JudgeEndpoint] = Field(
        default_factory=dict, description="endpoint of each model that a grader names"
    )
    labels: JsonObject = Field(default_factory=dict, description="shown in run.json, never interpreted")

    @model_validator(mode="after")
    def _method_has_its_settings(self) -> JobSpec:
        if self.method not in METHODS:
            raise ValueError(f"there is no method {self.method!r}: {', '.join(METHODS)}")
        if METHODS[self.method].needs_demonstrations != (self.sft is not None):
            raise ValueError("a method that learns from demonstrations needs sft, and no other method has it")
        return self


class SampleRow(BaseModel):
    """A prompt to sample completions of. Other fields of a row are ignored."""

    messages: list[JsonObject]
    tools: list[JsonObject] | None = None


class SampleSpec(Frozen):
    """Lets the engine sample a base model without training (for the grader bench)."""

    version: Literal[1] = SPEC_VERSION
    base_model: BaseModelRef
    rows: list[SampleRow]
    samples_per_row: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=1.0, gt=0, le=2)
    max_completion_length: int = Field(default=256, ge=1)
    seed: int = 0
