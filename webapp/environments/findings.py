"""Data of environments: what an inspection found, the moves of a play, and how far they led."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from workers.contract.environments import EndReason, Turn
from workers.contract.json_types import JsonObject
from workers.contract.schema import Frozen


class Move(TypedDict):
    """A tool call of a play, or a ``message`` without one."""

    tool: NotRequired[str]
    arguments: NotRequired[JsonObject]
    message: NotRequired[str]


class TaskSplit(Frozen):
    """A split with the number of its tasks and the first of them."""

    name: str
    count: int
    tasks: list[JsonObject]


FindingKind = Literal["success", "warning", "error"]


class Finding(Frozen):
    """The result of a check. ``evidence`` are lines that show it; ``remedy`` says what to change."""

    kind: FindingKind
    title: str
    text: str = ""
    remedy: str = ""
    evidence: list[str] = []


class Inspected(Frozen):
    """What an inspection found.

    ``required`` are the fields that no task leaves empty, ``fields`` those that some task has.
    """

    system_prompt: str
    max_tool_calls: int
    tools: list[JsonObject]
    splits: list[TaskSplit]
    required: list[str] = []
    fields: list[str] = []
    findings: list[Finding] = []

    def count(self, kind: str) -> int:
        """Return the number of findings of a kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def get_split(self, name: str) -> TaskSplit | None:
        """Return the split of this name."""
        return next((split for split in self.splits if split.name == name), None)


class Progress(Frozen):
    """How far the moves of a play led. There is a reward once there is an ``end``, if it can be scored."""

    system_prompt: str = ""
    prompt: str = ""
    turns: list[Turn] = []
    end: EndReason | None = None
    reward: float | None = None
    metrics: dict[str, float] = {}
    feedback: str = ""
