"""Bodies of requests about fine-tuning jobs, and the objects of responses."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from webapp.core.api.metadata import Metadata
from workers.contract.json_types import JsonObject
from workers.contract.spec import MAX_SEED

AUTO = "auto"
JsonDict = dict[str, JsonValue]


def _read_auto(value: object) -> object:
    return None if value == AUTO else value


def _show_bounds(kind: str, **bounds: float) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"const": AUTO}, {"type": kind, **bounds}], "default": AUTO})


# ``None`` stands for "auto". The bounds are inside, because pydantic would apply them to None as well.
_Auto = BeforeValidator(_read_auto)
BatchSize = Annotated[
    Annotated[int, Field(ge=1, le=256)] | None, _Auto, _show_bounds("integer", minimum=1, maximum=256)
]
Epochs = Annotated[
    Annotated[int, Field(ge=1, le=50)] | None, _Auto, _show_bounds("integer", minimum=1, maximum=50)
]
Multiplier = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
    _Auto,
    _show_bounds("number", exclusiveMinimum=0),
]
Compute = Annotated[
    Annotated[float, Field(gt=0.00001, le=10)] | None,
    _Auto,
    _show_bounds("number", exclusiveMinimum=0.00001, maximum=10),
]
Interval = Annotated[
    Annotated[int, Field(ge=1, le=2**31 - 1)] | None,
    _Auto,
    _show_bounds("integer", minimum=1, maximum=2**31 - 1),
]
EvalSamples = Annotated[
    Annotated[int, Field(ge=1, le=64)] | None, _Auto, _show_bounds("integer", minimum=1, maximum=64)
]


Effort = Literal["default", "low", "medium", "high"]


class Body(Schema):
    """A request's body. Unknown fields are refused, so that none is ignored by a typing mistake."""

    model_config = ConfigDict(extra="forbid")


class Hyperparameters(Body):
    """Hyperparameters of reinforcement fine-tuning; None is "auto"."""

    batch_size: BatchSize = None
    n_epochs: Epochs = None
    learning_rate_multiplier: Multiplier = None
    compute_multiplier: Compute = None
    eval_interval: Interval = None
    eval_samples: EvalSamples = None
    reasoning_effort: Effort = "default"

    def echo(self) -> JsonDict:
        """Return them as the job object shows them."""
        return {name: AUTO if value is None else value for name, value in self.model_dump().items()}


class SchemaFormat(Body):
    """The named JSON schema of a response format."""

    name: str = Field(min_length=1, max_length=64)
    schema_: JsonDict | None = Field(default=None, alias="schema")
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(Body):
    """As in chat completions; the flat form has the schema's fields beside ``type``."""

    type: Literal["text", "json_object", "json_schema"]
    named_schema: SchemaFormat | None = Field(default=None, alias="json_schema")
    name: str | None = None
    schema_: JsonDict | None = Field(default=None, alias="schema")
    strict: bool | None = None
    description: str | None = None


class Reinforcement(Body):
    """``environment``, Groove's own, is the id of an environment or of a version of one."""

    grader: JsonDict
    environment: str | None = Field(default=None, min_length=1, max_length=100)
    hyperparameters: Hyperparameters = Hyperparameters()
    response_format: ResponseFormat | None = None


class Method(Body):
    type: Literal["supervised", "dpo", "reinforcement"]
    reinforcement: Reinforcement | None = None
    supervised: JsonDict | None = None
    dpo: JsonDict | None = None


class Wandb(Body):
    project: str = Field(min_length=1, max_length=200)
    name: str | None = None
    entity: str | None = None
    tags: list[str] | None = None


class Integration(Body):
    """An integration is recorded and shown again; Groove sends nothing to other services."""

    type: Literal["wandb"]
    wandb: Wandb


class JobBody(Body):
    """The body of a request for a job. ``settings`` is Groove's own: sections of the job's settings."""

    model: str = Field(min_length=1, max_length=300)
    training_file: str = Field(min_length=1, max_length=100)
    validation_file: str | None = Field(default=None, min_length=1, max_length=100)
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    metadata: Metadata | None = None
    integrations: list[Integration] | None = Field(default=None, max_length=16)
    method: Method | None = None
    hyperparameters: JsonDict | None = None
    settings: dict[str, JsonDict] = Field(default_factory=dict)


# --- objects ---------------------------------------------------------------------------------------


class JobError(Schema):
    code: str
    message: str
    param: str | None


class JobObject(Schema):
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    id: str
    model: str
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: str
    training_file: str
    validation_file: str | None
    trained_tokens: int | None
    error: JobError | None
    hyperparameters: JsonObject | None
    seed: int
    integrations: list[JsonObject]
    metadata: dict[str, str]
    user_provided_suffix: str | None
    method: JsonObject


class EventObject(Schema):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: JsonObject | None


class CheckpointObject(Schema):
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    id: str
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, float]
