"""Environments of multi-step tasks, and the record of an episode that a model plays in one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from workers.contract.json_types import JsonObject
from workers.contract.schema import Frozen

MAX_ENVIRONMENT_SOURCE_BYTES = 256_000


class PythonEnvironment(Frozen):
    """``source`` defines one class (``docs/environments.md``); it runs in the sandbox only."""

    type: Literal["python"] = "python"
    name: str = "environment"
    source: str


class ServerEnvironment(Frozen):
    """An environment at a server that somebody else runs. Its secret is never part of a definition."""

    name: str = "environment"
    url: str = Field(max_length=500, description="of the server")
    secret: str = Field(default="", max_length=100, description="name of the secret to show; empty for none")
    max_tool_calls: int = Field(default=20, ge=1, le=200, description="of an episode")
    timeout_seconds: float = Field(default=60.0, gt=0, le=600, description="of one request")
    concurrency: int = Field(default=32, ge=1, le=256, description="requests at the same time")


class OrsEnvironment(ServerEnvironment):
    """An environment of a server that speaks the Open Reward Standard."""

    type: Literal["ors"] = "ors"
    environment: str = Field(
        default="", max_length=200, description="its name at the server; empty if the server has one"
    )


class McpEnvironment(ServerEnvironment):
    """Tools of an MCP server. Rows of a dataset are its tasks; the reward comes from the job's grader."""

    type: Literal["mcp"] = "mcp"


Environment = Annotated[PythonEnvironment | OrsEnvironment | McpEnvironment, Field(discriminator="type")]
"""Definition of an environment of any kind."""

EndReason = Literal[
    "finished",
    "answered",
    "turn_limit",
    "call_limit",
    "token_limit",
    "session_lost",
]
"""Why an episode ended.

``finished``: the environment ended it. ``answered``: the model answered without a tool call, and no scripted
user replied. ``session_lost``: the session died, so the reward is missing, never 0. Else a limit was reached.
"""


class EpisodeSettings(Frozen):
    """Limits of an episode. All its turns together also share ``GrpoSettings.max_completion_length``."""

    max_turns: int = Field(default=12, ge=1, le=100, description="assistant turns")
    max_tool_calls: int | None = Field(
        default=None, ge=1, le=200, description="below the environment's own limit; None keeps that"
    )
    max_observation_characters: int = Field(
        default=4000, ge=100, le=100_000, description="of a tool's result; the rest is cut and marked"
    )


class ToolCall(BaseModel):
    """A tool call as the model wrote it. ``arguments`` is None if they are not a JSON object."""

    name: str
    arguments: JsonObject | None
    text: str = Field(default="", description="the model's own text of a call that could not be parsed")


class Turn(BaseModel):
    """One turn of an episode: the model's, a tool's result, or a scripted user's message."""

    role: Literal["assistant", "tool", "user"]
    content: str
    reasoning: str = Field(default="", description="thoughts of an assistant turn")
    tool_calls: list[ToolCall] = []
    tool: str = Field(default="", description="name of the tool whose result this is")
    error: str = Field(default="", description="why a tool call failed; the model reads it in content")
    reward: float | None = Field(default=None, description="that the environment gave for this turn")
    tokens: int = Field(default=0, description="tokens of this turn; only an assistant's are trained on")
    seconds: float = Field(default=0.0, description="time in the environment")


class EpisodeRecord(BaseModel):
    """A whole episode after the prompt."""

    turns: list[Turn]
    end: EndReason
    reward: float | None = Field(
        default=None, description="the environment's; None if it could not be scored"
    )
    metrics: dict[str, float] = {}
    feedback: str = ""

    def transcript(self) -> str:
        """Return the turns as text, for search and lists; pages render ``turns``."""
        return "\n\n".join(part for turn in self.turns for part in _describe_turn(turn))

    def final_text(self) -> str:
        """Return the text of the last assistant turn."""
        return next((turn.content for turn in reversed(self.turns) if turn.role == "assistant"), "")


def _describe_turn(turn: Turn) -> list[str]:
    calls = [f"→ {call.name}({call.text or _list_arguments(call)})" for call in turn.tool_calls]
    if turn.role == "tool":
        return [f"{turn.tool}: {turn.content}"]
    return ([f"{turn.role}: {turn.content}"] if turn.content else []) + calls


def _list_arguments(call: ToolCall) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in (call.arguments or {}).items())
