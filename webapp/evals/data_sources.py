"""Where a run's rows and samples come from, as callers describe it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from ninja import Schema
from pydantic import Field, JsonValue, ValidationError, model_validator

from webapp.core.api.errors import ApiError
from webapp.core.api.metadata import Metadata
from webapp.core.api.texts import StorableText
from webapp.evals import messages
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.serving.routing import find_route
from webapp.teams.models import Team
from workers.contract.json_types import JsonObject

UNSUPPORTED = "Groove does not support {} {!r}. Use {}."
SAMPLING = (
    "max_completion_tokens", "reasoning_effort", "response_format", "seed", "temperature", "tools", "top_p",
)  # fmt: skip
STORED = "stored_completions"
SOURCES = ("file_content", "file_id", STORED)
UnixTime = Annotated[int, Field(ge=0, lt=253_402_300_800)]  # before the year 10000
PLACEHOLDER = [{"role": "user", "content": "?"}]


class ContentRow(Schema):
    item: dict[str, JsonValue]
    sample: dict[str, JsonValue] | None = None


class Source(Schema):
    """``file_content`` with ``content``, ``file_id`` with ``id``, or ``stored_completions`` with filters."""

    type: StorableText
    content: list[ContentRow] | None = None
    id: StorableText | None = None
    metadata: Metadata | None = None
    model: StorableText | None = None
    created_after: UnixTime | None = None
    created_before: UnixTime | None = None
    limit: int | None = Field(None, ge=1)


class TextBlock(Schema):
    type: Literal["input_text", "output_text", "text"]
    text: str


class TemplateMessage(Schema):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | TextBlock | list[str | TextBlock]
    type: Literal["message"] | None = None


class InputMessages(Schema):
    """Messages with references to ``item``, or a path to messages in ``item``."""

    type: Literal["template", "item_reference"]
    template: list[TemplateMessage] | None = None
    item_reference: str | None = None


class DataSource(Schema):
    """``jsonl``: the rows have samples. ``completions``: ``model`` answers ``input_messages``.

    Stored completions have samples, too, so they need no model; with one, it answers their prompts.
    """

    type: StorableText
    source: Source
    model: StorableText | None = None
    input_messages: InputMessages | None = None
    sampling_params: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _ask_stored_prompts(self) -> Self:
        if self.source.type == STORED and self.input_messages is None:
            self.input_messages = InputMessages(type="item_reference", item_reference="item.input")
        return self

    @property
    def asks_model(self) -> bool:
        """True if a model gives the samples."""
        return self.type == "completions" and not (self.source.type == STORED and self.model is None)


def check_source(team: Team, asked: DataSource) -> None:
    """Check all but the rows. Raises ApiError with the path of the wrong field."""
    if asked.type not in ("jsonl", "completions"):
        raise _refuse(UNSUPPORTED.format("the data source", asked.type, "jsonl or completions"), "type")
    if asked.source.type not in SOURCES:
        message = UNSUPPORTED.format(
            "the source", asked.source.type, f"{', '.join(SOURCES[:-1])} or {STORED}"
        )
        raise _refuse(message, "source.type")
    if asked.asks_model:
        _check_sampling(team, asked)


def _check_sampling(team: Team, asked: DataSource) -> None:
    if not asked.model:
        raise _miss("model")
    if asked.input_messages is None:
        raise _miss("input_messages")
    find_route(team, asked.model)
    try:
        messages.check_messages(describe_messages(asked))
    except ValueError as error:
        raise _refuse(str(error), "input_messages") from error
    try:
        build_request(asked.model, PLACEHOLDER, asked.sampling_params)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(["sampling_params", *map(str, first["loc"])])
        raise _refuse(f"Invalid 'data_source.{param}': {first['msg']}.", param) from error


def build_request(
    model: str, prompt: list[dict[str, Any]], params: dict[str, JsonValue] | None
) -> CompletionRequest:
    """Return the gateway's request. Unknown parameters are ignored. Raises ``pydantic.ValidationError``."""
    known = {name: (params or {}).get(name) for name in SAMPLING}
    return CompletionRequest.model_validate({"model": model, "messages": prompt} | known)


def describe_messages(asked: DataSource) -> JsonObject:
    """Return the input messages as JSON."""
    assert asked.input_messages
    return asked.input_messages.model_dump(mode="json", exclude_none=True)


def describe_source(asked: DataSource) -> JsonObject:
    """Return the data source as JSON, without the rows that it holds."""
    return asked.model_dump(mode="json", exclude_none=True, exclude={"source": {"content"}})


def _refuse(message: str, param: str) -> ApiError:
    return ApiError(message, param=f"data_source.{param}", code="invalid_value")


def _miss(param: str) -> ApiError:
    path = f"data_source.{param}"
    return ApiError(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")
