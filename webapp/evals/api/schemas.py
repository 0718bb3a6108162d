"""Bodies of requests about evals, and objects of responses."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Schema
from pydantic import Field, JsonValue, StringConstraints

from webapp.core.api.metadata import Metadata
from webapp.core.api.texts import StorableText
from webapp.evals.data_sources import DataSource
from webapp.evals.models import NAME_LENGTH
from workers.contract.json_types import JsonObject

MOST_CRITERIA = 20
Name = Annotated[StorableText, StringConstraints(max_length=NAME_LENGTH)]


class DataSourceConfig(Schema):
    """``custom``: rows whose ``item`` has the form of ``item_schema``.

    ``logs``, or its older name ``stored_completions``: stored completions with this ``metadata``.
    """

    type: StorableText
    metadata: Metadata | None = None
    item_schema: dict[str, JsonValue] | None = None
    include_sample_schema: bool = False


class NewEval(Schema):
    """``testing_criteria`` are graders, each with a ``pass_threshold``."""

    data_source_config: DataSourceConfig
    testing_criteria: list[dict[str, JsonValue]] = Field(min_length=1, max_length=MOST_CRITERIA)
    name: Name | None = None
    metadata: Metadata | None = None


class EvalChanges(Schema):
    """A field that is absent stays as it is."""

    name: Name | None = None
    metadata: Metadata | None = None


class NewRun(Schema):
    data_source: DataSource
    name: Name | None = None
    metadata: Metadata | None = None


class EvalObject(Schema):
    id: str
    object: Literal["eval"] = "eval"
    created_at: int
    name: str
    data_source_config: JsonObject
    testing_criteria: list[JsonObject]
    metadata: dict[str, str]


class DeletedEval(Schema):
    object: Literal["eval.deleted"] = "eval.deleted"
    deleted: bool = True
    eval_id: str


class ResultCounts(Schema):
    total: int
    passed: int
    failed: int
    errored: int


class CriterionResult(Schema):
    testing_criteria: str
    passed: int
    failed: int


class UsageObject(Schema):
    model_name: str
    invocation_count: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_tokens: int


class RunError(Schema):
    code: str
    message: str


class EvalRunObject(Schema):
    id: str
    object: Literal["eval.run"] = "eval.run"
    created_at: int
    eval_id: str
    name: str
    model: str
    status: str
    data_source: JsonObject
    result_counts: ResultCounts
    per_testing_criteria_results: list[CriterionResult]
    per_model_usage: list[UsageObject]
    report_url: str
    error: RunError | None
    metadata: dict[str, str]


class DeletedRun(Schema):
    object: Literal["eval.run.deleted"] = "eval.run.deleted"
    deleted: bool = True
    run_id: str


class OutputItemObject(Schema):
    id: str
    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    created_at: int
    eval_id: str
    run_id: str
    datasource_item_id: int
    datasource_item: JsonObject
    sample: JsonObject
    results: list[JsonObject]
    status: str
