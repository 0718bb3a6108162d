"""Rows and graded answers as plain data: how the JSON fields of trials and checks hold them."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from workers.contract.events import GradingErrorClass
from workers.contract.json_types import JsonObject
from workers.grading.results import TokenUsage


class Message(TypedDict):
    """A message of a prompt."""

    role: str
    content: str


class Row(TypedDict):
    """A row of a dataset version. ``item`` holds its fields besides the prompt."""

    row_id: str
    messages: list[Message]
    item: JsonObject
    tools: NotRequired[list[JsonObject]]


class Grade(TypedDict):
    """A ``workers.grading.GradeResult`` as JSON."""

    reward: float | None
    sub_rewards: dict[str, float | None]
    error_class: GradingErrorClass | None
    error_detail: str | None
    seconds: float
    stdout: str
    explanation: str
    usage: dict[str, TokenUsage]
    cached: bool


class SecondGrade(TypedDict):
    """What the second grader of a trial gave for the same answer."""

    reward: float | None
    error_class: GradingErrorClass | None
    error_detail: str | None


class Answer(TypedDict):
    """An answer of a trial: to the row of index ``row``, from a ``field``, ``typed`` or a ``base_model``."""

    row: int
    source: str
    number: int
    answer: str
    length: NotRequired[int]
    truncated: NotRequired[bool]


class GradedAnswer(Answer, Grade):
    """An item of ``GraderTrial.results``."""

    second: NotRequired[SecondGrade]
