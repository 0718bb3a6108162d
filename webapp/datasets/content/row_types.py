"""The JSON of rows, as versions store it and as pages show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, Required, TypedDict

# At run time nothing here needs pydantic; without it the child process that unpacks Parquet starts faster.
if TYPE_CHECKING:
    from workers.contract.json_types import JsonObject, JsonValue


class FunctionCall(TypedDict):
    """The function that an assistant's message calls."""

    name: str
    arguments: JsonObject


class ToolCall(TypedDict):
    """One entry of ``tool_calls``. Further keys, such as ``id``, stay as they were uploaded."""

    function: FunctionCall


class Tool(TypedDict):
    """A function tool in OpenAI's shape. ``type`` is always ``function``."""

    type: str
    function: JsonObject


class Message(TypedDict, total=False):
    """A checked chat message. Further keys, such as ``name``, stay as they were uploaded."""

    role: Required[str]
    content: str
    tool_calls: list[ToolCall]


class StoredRow(TypedDict):
    """A line of a version's file."""

    row_id: str
    messages: list[Message]
    item: JsonObject
    tools: NotRequired[list[Tool]]


class RowPreview(TypedDict):
    """A row cut to what fits on a page.

    ``number`` is its line in a file or its number in a split.
    ``count`` counts all messages, ``hidden`` those that are left out.
    """

    number: int
    count: int
    hidden: int
    messages: list[JsonObject]
    tools: list[dict[str, JsonValue]]
    item: JsonObject
    row_id: NotRequired[str]
    split: NotRequired[str]
