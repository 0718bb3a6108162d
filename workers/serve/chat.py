"""Chat completions: turns requests into groups of rows."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass

from workers.contract.chat_request import ChatRequest, ResponseFormat
from workers.contract.json_types import JsonObject
from workers.engine.base_model.models import Base
from workers.engine.prompts.rendering import RenderingError
from workers.engine.prompts.tool_calls import find_format
from workers.serve.adapters import Adapter
from workers.serve.chat_request import build_row_message, check_request
from workers.serve.constrained_decoding import Constraint, GrammarCompiler
from workers.serve.detokenizer import Detokenizer
from workers.serve.errors import invalid_field
from workers.serve.message_parts import CallSplitter, MessageSplitter, ThoughtSplitter
from workers.serve.rows import Group, Row, Settings

DEFAULT_TOKENS = 512  # of a completion without a limit in its request, if the context allows it
NO_CALLS = "this model's chat template shows no tools, or writes calls in a form that is not known here."


@dataclass(frozen=True)
class Conversation:
    """A request whose rows are ready to be generated. ``model`` is the name that it asked for."""

    request: ChatRequest
    model: str
    group: Group
    rows: list[Row]

    @property
    def adapter_sha256(self) -> str:
        """Hash of the adapter that answers; empty for the base."""
        return self.group.adapter.sha256 if self.group.adapter else ""


class Chat:
    """Builds the rows of one model's requests."""

    def __init__(self, base: Base, name: str) -> None:
        self.base, self.name = base, name
        config = base.model.config.get_text_config()
        self._context = int(getattr(config, "max_position_embeddings", base.tokenizer.model_max_length))
        self.vocabulary = int(config.vocab_size)
        self.grammars = GrammarCompiler(base)
        self._format = find_format(base.renderer)

    def prepare(self, request: ChatRequest, adapter: Adapter | None) -> Conversation:
        """Return one row per choice. Raises ``ApiError``."""
        check_request(request, self.vocabulary)
        prompt = self._encode_prompt(request)
        constraint = self._build_constraint(request)
        settings = self._read_settings(request, self._context - len(prompt))
        seed = secrets.randbits(64) if request.seed is None else request.seed
        rows = [
            Row(
                settings=settings,
                random=random.Random(f"{seed}/{choice}"),  # noqa: S311 - not a secret
                detokenizer=Detokenizer(self.base.renderer, settings.stop, live=request.stream),
                end_ids=frozenset(self.base.eos_ids),
                constraint=constraint.copy() if constraint else None,
            )
            for choice in range(request.n)
        ]
        return Conversation(
            request, adapter.name if adapter else self.name, Group(prompt, [*rows], adapter), rows
        )

    def build_splitter(self, conversation: Conversation) -> MessageSplitter:
        """Return a splitter for a completion of this conversation."""
        thoughts, renderer = None, self.base.renderer
        if renderer.markers and conversation.rows[0].constraint is None:
            opened = renderer.opens_thoughts(renderer.decode_tail(conversation.group.prompt))
            thoughts = ThoughtSplitter(renderer.markers, opened)
        return MessageSplitter(thoughts, self.build_call_splitter(conversation.request))

    def build_call_splitter(self, request: ChatRequest) -> CallSplitter | None:
        """Return a splitter for the tool calls of a completion; ``None`` without tools."""
        names = [tool.function.name for tool in request.offered_tools]
        return CallSplitter(self._format, names) if self._format and names else None

    def _read_settings(self, request: ChatRequest, room: int) -> Settings:
        limit = request.max_completion_tokens or request.max_tokens or DEFAULT_TOKENS
        return Settings(
            limit=min(limit, room),
            temperature=request.temperature,
            top_p=request.top_p,
            stop=tuple(request.stop),
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            bias=tuple(request.logit_bias.items()),
            scores=request.logprobs or request.return_token_ids,
            top=request.top_logprobs,
        )

    def _encode_prompt(self, request: ChatRequest) -> list[int]:
        tools = [tool.model_dump(exclude_none=True) for tool in request.offered_tools]
        if tools and self._format is None:
            raise invalid_field("tools", NO_CALLS)
        try:
            prompt = self.base.renderer.encode([build_row_message(each) for each in request.messages], tools)
        except RenderingError as error:
            raise invalid_field("messages", f"the chat template cannot render them: {error}") from error
        if not prompt:
            raise invalid_field("messages", "the chat template makes an empty prompt of them.")
        if len(prompt) >= self._context:
            reason = (
                f"they have {len(prompt)} tokens; this model's context is {self._context}, completion "
                "included. Shorten them."
            )
            raise invalid_field("messages", reason, "context_length_exceeded")
        return prompt

    def _build_constraint(self, request: ChatRequest) -> Constraint | None:
        """Return the grammar of a forced call or of a response format; ``None`` for text."""
        if request.forced_tools:
            return self._build_calls(request)
        return self._build_format(request.response_format)

    def _build_calls(self, request: ChatRequest) -> Constraint:
        form = self._format
        assert form is not None  # checked with the prompt
        calls: list[tuple[str, JsonObject]] = [
            (form.write_head(tool.function.name), tool.function.parameters or {"type": "object"})
            for tool in request.forced_tools
        ]
        return self.grammars.compile_calls(form.begin_text, calls, form.end_text, "tools")

    def _build_format(self, response_format: ResponseFormat) -> Constraint | None:
        if response_format.type == "text":
            return None
        if response_format.type == "json_object":
            return self.grammars.compile_schema({"type": "object"}, "response_format")
        param = "response_format.json_schema"
        if response_format.json_schema is None:
            raise invalid_field(param, "it is missing.", "missing_required_parameter")
        if response_format.json_schema.content is None:
            raise invalid_field(f"{param}.schema", "it is missing.", "missing_required_parameter")
        return self.grammars.compile_schema(response_format.json_schema.content, f"{param}.schema")
