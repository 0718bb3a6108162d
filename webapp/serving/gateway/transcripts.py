"""What is kept of a completion with ``store: true``: the first choice, whole, with its tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from webapp.interactions.services import InteractionRecord, record_interaction
from webapp.serving.gateway.callers import Caller
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.serving.routing import Route

NOT_PARAMS = {"model", "messages", "stream", "stream_options", "return_token_ids"}


@dataclass
class Transcript:
    """Puts a message together from a whole answer, or from the chunks of a stream."""

    content: str | None = None
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish: str = ""
    prompt_ids: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logp_sampled: list[float] = field(default_factory=list)
    logp_model: list[float] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    created: datetime = field(default_factory=timezone.now)

    def add(self, body: dict[str, Any]) -> None:
        """Add an answer or a chunk, as the model server sent it."""
        self.prompt_ids += body.get("prompt_token_ids") or []
        self.usage = body.get("usage") or self.usage
        for choice in body["choices"]:
            if choice["index"] == 0:
                self._add_part(choice.get("message") or choice.get("delta") or {})
                self.finish = choice.get("finish_reason") or self.finish
                self.token_ids += choice.get("token_ids") or []
                self.logp_sampled += choice.get("logp_sampled") or []
                self.logp_model += choice.get("logp_model") or []

    def _add_part(self, part: dict[str, Any]) -> None:
        if (content := part.get("content")) is not None:
            self.content = (self.content or "") + content
        self.reasoning += part.get("reasoning_content") or ""
        for position, call in enumerate(part.get("tool_calls") or []):
            self._add_call(call.get("index", position), call)

    def _add_call(self, index: int, call: dict[str, Any]) -> None:
        if index >= len(self.tool_calls):
            empty = {"name": "", "arguments": ""}
            self.tool_calls.append({"id": call.get("id", ""), "type": "function", "function": empty})
        function, known = call.get("function") or {}, self.tool_calls[index]["function"]
        known["name"] += function.get("name") or ""
        known["arguments"] += function.get("arguments") or ""

    def build_message(self) -> dict[str, Any]:
        """Return the assistant's message."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content or ""}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        return message


@dataclass(frozen=True)
class Kept:
    """A transcript with what is known of its request."""

    caller: Caller
    request: CompletionRequest
    route: Route
    uid: str
    transcript: Transcript
    adapter_sha256: str
    milliseconds: int
    idempotency_key: str

    def store(self) -> None:
        """Keep the interaction, as far as the team's rules and the caller's consent allow."""
        payload: dict[str, Any] = self.request.build_payload("")
        tuned = self.route.tuned_model  # of another team, if that team shares it
        record_interaction(
            InteractionRecord(
                team=self.caller.team,
                key_user=self.caller.user,
                deployment=self.route.deployment,
                model=self.route.name,
                base_model=self.route.base,
                tuned_model=tuned if tuned and tuned.team_id == self.caller.team.pk else None,
                adapter_sha256=self.adapter_sha256,
                messages=payload["messages"],
                params={name: value for name, value in payload.items() if name not in NOT_PARAMS},
                prompt_ids=self.transcript.prompt_ids,
                completion=self.transcript.build_message(),
                completion_ids=self.transcript.token_ids,
                logp_sampled=self.transcript.logp_sampled,
                logp_model=self.transcript.logp_model,
                propensity_ok=bool(self.transcript.logp_sampled),
                finish=self.transcript.finish,
                usage=self.transcript.usage,
                latency_ms=self.milliseconds,
                metadata=self.request.metadata,
                user=self.request.user or self.request.safety_identifier,
                created=self.transcript.created,
                uid=self.uid,
                asked_sha256=self.route.sha256,
                system_fingerprint=self.route.fingerprint,
                idempotency_key=self.idempotency_key,
            )
        )
