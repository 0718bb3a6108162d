"""The job spec: everything the engine is told about one job, as plain data.

The web application writes it, the engine reads it; neither imports the other. Defaults and bounds stand
here once; their sources are in ``docs/design.md`` ("Defaults").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from workers.contract.base_sources import BaseSource, find_source

SPEC_VERSION: Final = 1
MAX_PYTHON_SOURCE_BYTES = 256_000
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


class Frozen(BaseModel):
    """Specs never change once written, and an unknown field is an error, not a silent no-op."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- graders: OpenAI's schemas, names and meaning --------------------------------------------------


class StringCheckGrader(Frozen):
    """1 if ``operation`` holds between the two filled templates, else 0."""

    type: Literal["string_check"] = "string_check"
    name: str = "grader"
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


SimilarityMetric = Literal[
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
]


class TextSimilarityGrader(Frozen):
    """A similarity between 0 and 1 of the two filled templates."""

    type: Literal["text_similarity"] = "text_similarity"
    name: str = "grader"
    input: str
    reference: str
    evaluation_metric: SimilarityMetric


class PythonGrader(Frozen):
    """``source`` defines ``grade(sample, item) -> float``; it runs in the sandbox only."""

    type: Literal["python"] = "python"
    name: str = "grader"
    source: str
    image_tag: str | None = None


class ContentBlock(Frozen):
    """A piece of a judge's message. Images and sound cannot be graded here and are refused."""

    type: Literal["input_text", "output_text"] = "input_text"
    text: str


class JudgeMessage(Frozen):
    """A message template for a judge."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | ContentBlock | list[str | ContentBlock]
    type: Literal["message"] = "message"


class SamplingParams(Frozen):
    """How a judge writes; what is absent is left to the endpoint. Names are OpenAI's."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    max_completions_tokens: int | None = Field(default=None, ge=1)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


class ScoreModelGrader(Frozen):
    """A judge answers with a number, which is clamped to ``range``."""

    type: Literal["score_model"] = "score_model"
    name: str = "grader"
    model: str
    input: list[JudgeMessage] = Field(min_length=1)
    range: tuple[float, float] = (0.0, 1.0)
    sampling_params: SamplingParams | None = None


class LabelModelGrader(Frozen):
    """A judge chooses one of ``labels``: 1 if it is among ``passing_labels``, else 0."""

    type: Literal["label_model"] = "label_model"
    name: str = "grader"
    model: str
    input: list[JudgeMessage] = Field(min_length=1)
    labels: list[str] = Field(min_length=1)
    passing_labels: list[str]
    sampling_params: SamplingParams | None = None


# --- graders: Groove's own -------------------------------------------------------------------------


class FieldScore(Frozen):
    """How one field of a JSON answer is compared with the reference's."""

    weight: float = Field(default=1.0, gt=0)
    compare: Literal["exact", "text", "number", "fuzzy"] = "exact"
    tolerance: float = Field(default=0.0, ge=0, description="for number: greatest absolute difference")


class JsonSchemaGrader(Frozen):
    """0 unless ``input`` is JSON that satisfies ``json_schema``; else 1, or the weighted share of fields.

    ``fields`` maps paths (``total``, ``lines[0].price``) to how each is compared with ``reference``, a
    template that fills to JSON. With ``fenced``, the JSON may stand in a fenced block, beside other text.
    """

    type: Literal["json_schema"] = "json_schema"
    name: str = "grader"
    input: str = "{{sample.output_text}}"
    json_schema: dict[str, Any]
    fenced: bool = False
    reference: str | None = None
    fields: dict[str, FieldScore] = {}


class RegexGrader(Frozen):
    """1 if ``pattern`` matches ``input``; with ``reference``, if the captured ``group`` equals it."""

    type: Literal["regex"] = "regex"
    name: str = "grader"
    input: str = "{{sample.output_text}}"
    pattern: str = Field(max_length=2000)
    match: Literal["search", "fullmatch"] = "search"
    flags: list[Literal["ignorecase", "multiline", "dotall"]] = []
    reference: str | None = None
    group: int | str = 1


class MathGrader(Frozen):
    """1 if the final answer of ``input`` is mathematically equal to ``reference``."""

    type: Literal["math"] = "math"
    name: str = "grader"
    input: str = "{{sample.output_text}}"
    reference: str


class SqlGrader(Frozen):
    """1 if ``input``, a query, gives what ``reference`` gives on every one of ``databases``.

    Each database is an SQL script that builds it; more than one stops answers that only hold the result of
    the first. ``partial`` is paid for a query that runs and differs.
    """

    type: Literal["sql"] = "sql"
    name: str = "grader"
    input: str = "{{sample.output_text}}"
    reference: str
    databases: list[str] = Field(min_length=1, max_length=4)
    partial: float = Field(default=0.0, ge=0, lt=1)


CodeGrader = Annotated[
    StringCheckGrader
    | TextSimilarityGrader
    | PythonGrader
    | JsonSchemaGrader
    | RegexGrader
    | MathGrader
    | SqlGrader,
    Field(discriminator="type"),
]


class Criterion(Frozen):
    """One yes-or-no criterion: code (``grader``, met from ``threshold`` up) or a ``question`` to the judge.

    A ``required`` one that is not met makes the whole 0.
    """

    name: str
    weight: float = Field(default=1.0, gt=0)
    required: bool = False
    grader: CodeGrader | None = None
    threshold: float = 1.0
    question: str | None = None

    @model_validator(mode="after")
    def _code_or_question(self) -> Criterion:
        if (self.grader is None) == (self.question is None):
            raise ValueError("a criterion has either a grader or a question")
        return self


class RubricGrader(Frozen):
    """The weighted share of criteria that are met; code first, then one call to the judge for all questions.

    ``input`` shows the judge what it judges.
    """

    type: Literal["rubric"] = "rubric"
    name: str = "grader"
    criteria: list[Criterion] = Field(min_length=1, max_length=32)
    model: str | None = None
    input: list[JudgeMessage] = []
    sampling_params: SamplingParams | None = None

    @model_validator(mode="after")
    def _judge_if_asked(self) -> RubricGrader:
        if any(criterion.question for criterion in self.criteria) and not (self.model and self.input):
            raise ValueError("questions need a model and an input that shows it the answer")
        return self


class RankingGrader(Frozen):
    """A judge compares all answers to one prompt with each other; rewards are relative to that group.

    ``context`` shows the judge the task, from the row alone. ``canary`` is a known-bad answer that is put
    into ``canary_share`` of the groups, where it must come last.
    """

    type: Literal["ranking"] = "ranking"
    name: str = "grader"
    model: str
    rubric: str = Field(min_length=1, description="what makes an answer better")
    context: str = ""
    method: Literal["listwise", "knockout", "round_robin"] = "listwise"
    canary: str | None = None
    canary_share: float = Field(default=0.02, ge=0, le=1)
    sampling_params: SamplingParams | None = None


SimpleGrader = Annotated[
    StringCheckGrader
    | TextSimilarityGrader
    | PythonGrader
    | ScoreModelGrader
    | LabelModelGrader
    | JsonSchemaGrader
    | RegexGrader
    | MathGrader
    | SqlGrader
    | RubricGrader
    | RankingGrader,
    Field(discriminator="type"),
]


class MultiGrader(Frozen):
    """``calculate_output``, a formula over the rewards of ``graders``, keyed by variable name."""

    type: Literal["multi"] = "multi"
    name: str = "grader"
    graders: dict[str, SimpleGrader] = Field(min_length=1)
    calculate_output: str


Grader = Annotated[SimpleGrader | MultiGrader, Field(discriminator="type")]


class JudgeEndpoint(Frozen):
    """Where a judge model answers, and the limits that hold for one job. Its key is never part of a spec."""

    base_url: str = Field(description="an OpenAI-compatible API, up to and including /v1")
    model: str = Field(description="the endpoint's own name of the model")
    revision: str = Field(default="", description="stands for address and model in cache keys")
    on_this_worker: bool = Field(
        default=False, description="served by this worker: its loopback address may be reached, no other"
    )
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    concurrency: int = Field(default=16, ge=1, le=256, description="requests in flight")
    timeout_seconds: float = Field(default=60.0, gt=0, le=600)
    input_price: float = Field(default=0.0, ge=0, description="money for a million prompt tokens")
    output_price: float = Field(default=0.0, ge=0, description="money for a million completion tokens")
    budget: float | None = Field(default=None, gt=0, description="money that one job may spend")
    spent: float = Field(default=0.0, ge=0, description="money that earlier attempts at the job have spent")


# --- what a job is made of -------------------------------------------------------------------------


def _check_template_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Raises ``ValueError`` for a name that rendering itself uses, and for too much."""
    for name in arguments:
        if not name.isidentifier() or name in RESERVED_ARGUMENTS:
            raise ValueError(f"{name!r} cannot be a template argument: rendering uses it, or it is no name")
    if len(json.dumps(arguments)) > MAX_ARGUMENTS:
        raise ValueError(f"template arguments take at most {MAX_ARGUMENTS} characters as JSON")
    return arguments


TemplateArguments = Annotated[dict[str, Any], AfterValidator(_check_template_arguments)]


class BaseModelRef(Frozen):
    """The model that is tuned. ``id`` goes into the adapter's config; ``path``, if set, is loaded instead.

    Its ``source`` decides how it is loaded and named.
    """

    id: str = Field(description="Hugging Face id, or the name of a local model")
    revision: str | None = None
    path: str | None = Field(default=None, description="local folder that holds the weights")
    chat_template: str | None = Field(
        default=None, max_length=MAX_TEMPLATE, description="Jinja, in place of the tokenizer's own"
    )
    template_arguments: TemplateArguments = Field(
        default_factory=dict, description="what the chat template is given beside the messages"
    )

    @property
    def source(self) -> BaseSource:
        """Where the model's files come from."""
        return find_source(self.id, self.revision, self.path)

    def resolve(self, root: Path) -> BaseModelRef:
        """The same with a relative folder in full below ``root``."""
        return self.model_copy(update={"path": self.source.resolve_path(root) or None})


class ChatSettings(Frozen):
    """How the chat template is applied, and what graders see of completions with thoughts."""

    grade: Literal["final", "whole"] = Field(
        default="final", description="graders see the final answer, or thoughts and answer as one text"
    )
    template_arguments: TemplateArguments = Field(
        default_factory=dict, description="added to the base model's, or in their place by name"
    )


class DataFile(Frozen):
    """A JSON Lines file: one object a row with ``row_id``, ``messages`` and ``item`` (the other fields)."""

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


class Suite(Frozen):
    """Rows that the model should still do after training, and what grades them (retention)."""

    name: str = Field(min_length=1, max_length=120)
    rows: DataFile
    grader: Grader
    max_loss: float | None = Field(
        default=None, ge=0, description="gate: the reward that the suite may lose, as a lower bound"
    )


class AdapterRef(Frozen):
    """A PEFT adapter that training continues from; the reference of the KL is it, not the base."""

    id: str = Field(description="what people call it")
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
    """What TRL's GRPOTrainer is told. Names follow TRL where TRL has one."""

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


class EvaluationSettings(Frozen):
    """How base and tuned are compared on held-out rows."""

    samples_per_row: int = Field(default=8, ge=1, le=64, description="k of pass@k")
    max_rows: int = Field(default=200, ge=1, description="rows of a split that are used, of each task")
    every: int = Field(default=20, ge=0, description="steps between validation runs; 0 is never")
    validation_samples_per_row: int = Field(default=4, ge=1, le=64)
    validation_max_rows: int = Field(default=32, ge=1)
    pass_threshold: float = Field(default=0.999, description="reward that counts as right")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    bootstrap_resamples: int = Field(default=2000, ge=100, le=100_000)


class PreflightSettings(Frozen):
    """Whether the job can work, measured before it trains: base rollouts on training rows, graded."""

    rows: int = Field(default=24, ge=0, le=500, description="training rows sampled; 0 skips it")
    samples_per_row: int = Field(default=16, ge=2, le=64)
    on_no_go: Literal["pause", "go_on"] = Field(
        default="pause", description="what happens when the advice is against training"
    )


class AlarmRules(Frozen):
    """When a job that goes wrong pauses (``workers/contract/health.py``)."""

    pause: bool = Field(default=False, description="a reward-hacking alarm pauses the job")
    held_out_answers: int = Field(
        default=64, ge=1, le=4096, description="answers a step that the held-out grader grades, at most"
    )
    stuck_seconds: float = Field(
        default=900.0, ge=10, description="without any event for so long the engine counts as stuck"
    )
    no_signal_steps: int = Field(
        default=20, ge=2, description="steps in a row without any group signal that pause the job"
    )
    least_entropy: float = Field(
        default=1e-4, ge=0, description="nats a token; below it for ten steps the job pauses"
    )


class AlarmSettings(AlarmRules):
    """What watches for reward hacking. ``grader`` is never trained against."""

    grader: Grader | None = None


class SftSettings(Frozen):
    """Supervised fine-tuning on demonstrations, the arm that RFT is held against."""

    rows: DataFile = Field(description="row_id, messages, completion")
    learning_rate: float = Field(default=2e-4, gt=0, le=0.1)
    epochs: int = Field(default=3, ge=1, le=100)
    batch_size: int = Field(default=16, ge=1, le=512)


class Resources(Frozen):
    """What the job asks of a node."""

    device: Literal["cpu", "cuda"] = "cpu"
    gpus: int = Field(default=0, ge=0, le=64)
    cpu_cores: int = Field(default=1, ge=1, le=256)
    gpu_memory_gib: float = Field(default=0.0, ge=0, description="least free memory of each GPU")

    @model_validator(mode="after")
    def _gpus_match_device(self) -> Resources:
        if (self.device == "cuda") != (self.gpus > 0):
            raise ValueError("device 'cuda' needs gpus of at least 1, and device 'cpu' needs gpus 0")
        return self


class JobSpec(Frozen):
    """One RFT job, complete: a folder with this file and the named data is all the engine needs."""

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
    arm: Literal["rft", "placebo", "sft"] = Field(
        default="rft", description="placebo trains on random rewards, sft on demonstrations"
    )
    start: AdapterRef | None = None
    sft: SftSettings | None = None
    promoted_from: PromotedFrom | None = None
    suites: list[Suite] = Field(default_factory=list, max_length=16)
    chat: ChatSettings = ChatSettings()
    preflight: PreflightSettings = PreflightSettings()
    alarm: AlarmSettings = AlarmSettings()
    judges: dict[str, JudgeEndpoint] = Field(
        default_factory=dict, description="where each model that the grader names answers"
    )
    lora: LoraSettings = LoraSettings()
    grpo: GrpoSettings = GrpoSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    resources: Resources = Resources()
    seed: int = Field(default=0, ge=0, le=2_147_483_647)
    labels: dict[str, Any] = Field(default_factory=dict, description="shown in run.json, never interpreted")

    @model_validator(mode="after")
    def _arm_has_its_rows(self) -> JobSpec:
        if (self.arm == "sft") != (self.sft is not None):
            raise ValueError("arm 'sft' needs sft, and no other arm has it")
        return self


class SampleSpec(Frozen):
    """Ask the engine for base-model answers only (the grader bench uses it)."""

    version: Literal[1] = SPEC_VERSION
    base_model: BaseModelRef
    rows: list[dict[str, Any]]
    samples_per_row: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=1.0, gt=0, le=2)
    max_completion_length: int = Field(default=256, ge=1)
    seed: int = 0
