"""The job spec: everything the engine is told about one job, as plain data.

The web application writes it, the engine reads it; neither imports the other. Defaults and bounds stand
here once; their sources are in ``docs/design.md`` ("Defaults").
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPEC_VERSION: Final = 1
MAX_PYTHON_SOURCE_BYTES = 256_000


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


SimpleGrader = Annotated[StringCheckGrader | TextSimilarityGrader | PythonGrader, Field(discriminator="type")]


class MultiGrader(Frozen):
    """``calculate_output``, a formula over the rewards of ``graders``, keyed by variable name."""

    type: Literal["multi"] = "multi"
    name: str = "grader"
    graders: dict[str, SimpleGrader] = Field(min_length=1)
    calculate_output: str


Grader = Annotated[
    StringCheckGrader | TextSimilarityGrader | PythonGrader | MultiGrader,
    Field(discriminator="type"),
]


# --- what a job is made of -------------------------------------------------------------------------


class BaseModelRef(Frozen):
    """The model that is tuned. ``id`` goes into the adapter's config; ``path``, if set, is loaded instead."""

    id: str = Field(description="Hugging Face id, or the name of a local model")
    revision: str | None = None
    path: str | None = Field(default=None, description="local folder that holds the weights")


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
    max_rows: int = Field(default=200, ge=1, description="rows of a split that are used")
    every: int = Field(default=20, ge=0, description="steps between validation runs; 0 is never")
    validation_samples_per_row: int = Field(default=4, ge=1, le=64)
    validation_max_rows: int = Field(default=32, ge=1)
    pass_threshold: float = Field(default=0.999, ge=0, le=1, description="reward that counts as right")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    bootstrap_resamples: int = Field(default=2000, ge=100, le=100_000)


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
    lora: LoraSettings = LoraSettings()
    grpo: GrpoSettings = GrpoSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    resources: Resources = Resources()
    seed: int = Field(default=0, ge=0, le=2_147_483_647)
    labels: dict[str, Any] = Field(default_factory=dict, description="shown in run.json, never interpreted")


class SampleSpec(Frozen):
    """Ask the engine for base-model answers only (the grader bench uses it)."""

    version: Literal[1] = SPEC_VERSION
    base_model: BaseModelRef
    rows: list[dict[str, Any]]
    samples_per_row: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=1.0, gt=0, le=2)
    max_completion_length: int = Field(default=256, ge=1)
    seed: int = 0
