"""Asks a judge model for JSON of a given schema, through the ``openai`` client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from workers.contract.events import GradingErrorClass
from workers.contract.graders import SamplingParams
from workers.contract.json_types import JsonObject
from workers.contract.spec import JudgeEndpoint
from workers.grading.judge.cache import VerdictCache, build_key
from workers.grading.judge.limits import Limits
from workers.grading.judge.verdicts import content_text, find_refusal, parse_verdict
from workers.grading.results import TokenUsage, add_usage
from workers.grading.thoughts import without_thoughts
from workers.outbound import (
    AddressRefused,
    AllowList,
    Caps,
    OutboundTransport,
    check_url,
    describe_status,
    explain,
)
from workers.outbound.loop import Loop

T = TypeVar("T")
ChatMessage = dict[str, str]
"""``role`` and ``content``."""

# By the client itself: after connection errors, 408, 409, 429 and 5xx, with backoff or retry-after.
MAX_RETRIES = 2
MAX_ANSWER_BYTES = 4 * 2**20
EXCERPT = 400
FORM_VERSION = 1  # part of cache keys: raise it when one of Groove's prompts changes

# (response format, is temperature 0 allowed). After status 400 the next way is tried, and kept if it works.
WAYS = (("json_schema", True), ("json_schema", False), ("json_object", False), ("text", False))


@dataclass(frozen=True)
class Question:
    """``read`` turns the JSON of the reply into a verdict; it raises ``ValueError`` for a wrong reply.

    ``cold`` asks for temperature 0 where ``sampling`` names none and the model permits it.
    """

    messages: list[ChatMessage]
    schema: JsonObject
    read: Callable[[Any], Any]
    sampling: SamplingParams | None = None
    cold: bool = False


@dataclass(frozen=True)
class Reply:
    """``value`` is the verdict that the question's ``read`` returned, or ``error_class`` says why not."""

    value: Any = None
    error_class: GradingErrorClass | None = None
    detail: str | None = None
    usage: dict[str, TokenUsage] = field(default_factory=dict)
    cached: bool = False
    seconds: float = 0.0


class _Message(BaseModel):
    content: str | list[Any] | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Completion(BaseModel):
    """The fields of a chat completion that are read; servers add others, and leave many out."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage = _Usage()


class _Failed(Exception):
    def __init__(self, error_class: GradingErrorClass, detail: str) -> None:
        super().__init__(detail)
        self.error_class, self.detail = error_class, detail


class Judge:
    """One judge model, used by any number of graders of a job within the limits of its endpoint."""

    def __init__(self, name: str, endpoint: JudgeEndpoint, key: str, cache: VerdictCache, loop: Loop) -> None:
        self._name, self._endpoint = name, endpoint
        self._cache, self._loop = cache, loop
        self._limits = Limits(endpoint)
        self._way = 0
        self._pending: dict[str, asyncio.Future[Reply]] = {}
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=key or "none",
            max_retries=MAX_RETRIES,
            timeout=endpoint.timeout_seconds,
            http_client=_build_http_client(endpoint),
        )

    def run_all(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run coroutines of this judge at once, within its limits. Returns their results in order."""
        return self._loop.submit(self.gather(work)).result()

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Do the same in a coroutine of this judge. Raises the first exception after all have ended."""
        ended = await asyncio.gather(*work, return_exceptions=True)
        for result in ended:
            if isinstance(result, BaseException):
                raise result
        return [result for result in ended if not isinstance(result, BaseException)]

    def close(self) -> None:
        self._loop.submit(self._client.close()).result()

    async def ask(self, question: Question) -> Reply:
        """Return the reply from the cache, an equal question in flight, or the judge. Never raises."""
        sampling = question.sampling.model_dump() if question.sampling else None
        endpoint = self._endpoint
        key = build_key(
            FORM_VERSION, endpoint.revision or endpoint.base_url, endpoint.model, question.messages,
            question.schema, sampling, question.cold,
        )  # fmt: skip
        if (cached := self._find_cached(key, question)) is not None:
            return cached
        if key in self._pending:
            first = await asyncio.shield(self._pending[key])
            return Reply(first.value, first.error_class, first.detail, cached=not first.error_class)
        self._pending[key] = asyncio.get_running_loop().create_future()
        reply = await self._ask_judge(question, key)
        self._pending.pop(key).set_result(reply)
        return reply

    def _find_cached(self, key: str, question: Question) -> Reply | None:
        verdict = self._cache.get(key)
        if verdict is None:
            return None
        try:
            return Reply(question.read(verdict), cached=True)
        except ValueError:
            return None

    async def _ask_judge(self, question: Question, key: str) -> Reply:
        """Ask, and ask once more with a complaint if the reply has the wrong form."""
        started = time.perf_counter()
        usage: list[TokenUsage] = []
        messages = question.messages
        failure = _Failed("other_error", "")
        try:
            for _ in range(2):
                text = await self._request_text(question, messages, usage)
                try:
                    verdict = parse_verdict(text)
                    value = question.read(verdict)
                except ValueError as error:
                    complaint = f"Your answer was refused: {error}. Answer again, with the JSON object alone."
                    messages = [
                        *question.messages,
                        {"role": "assistant", "content": without_thoughts(text)},
                        {"role": "user", "content": complaint},
                    ]
                    detail = f"{self._name} did not answer in the form asked for ({error}): {_excerpt(text)}"
                    failure = _Failed("model_grader_parse_error", detail)
                else:
                    self._cache.put(key, verdict)
                    return Reply(value, usage=self._sum_usage(usage), seconds=time.perf_counter() - started)
        except _Failed as error:
            failure = error
        except Exception as error:
            failure = _Failed("model_grader_server_error", f"{self._name} failed: {type(error).__name__}")
        seconds = time.perf_counter() - started
        return Reply(None, failure.error_class, failure.detail, self._sum_usage(usage), seconds=seconds)

    async def _request_text(
        self, question: Question, messages: list[ChatMessage], usage: list[TokenUsage]
    ) -> str:
        """Return the text of one reply. Raises ``_Failed``."""
        characters = sum(len(message["content"]) for message in messages)
        async with self._limits.slot(characters):
            if self._limits.exhausted:
                detail = f"{self._name}: this job's budget of {self._endpoint.budget:g} is spent"
                raise _Failed("model_grader_server_error", detail)
            completion = await self._request_completion(question, messages)
        try:
            answer = _Completion.model_validate(completion)
        except ValidationError as error:
            raise _Failed("model_grader_server_error", f"{self._name} sent no chat completion") from error
        cached = answer.usage.prompt_tokens_details or _Details()
        tokens = answer.usage.prompt_tokens, answer.usage.completion_tokens, cached.cached_tokens or 0
        usage.append(await self._limits.record_usage(*tokens, characters))
        choice = answer.choices[0]
        refusal = choice.message.refusal or find_refusal(choice.message.content)
        if refusal or choice.finish_reason == "content_filter":
            reason = refusal or "its content filter stopped the answer"
            raise _Failed("model_grader_refusal_error", f"{self._name} refused: {_excerpt(reason)}")
        return content_text(choice.message.content or "")

    async def _request_completion(self, question: Question, messages: list[ChatMessage]) -> object:
        """Try the ways of asking, until the status of one is not 400."""
        way = self._way
        self._check_url()
        while True:
            try:
                # The client's method for chat completions spends most of its time on building types.
                body = self._build_request(question, messages, way)
                answer = await self._client.post("/chat/completions", body=body, cast_to=object)
            except openai.BadRequestError as error:
                following = _find_next_way(way, question)
                if following is None:
                    raise _Failed(
                        "model_grader_server_error", describe_status(self._name, error.status_code)
                    ) from None
                way = following
            except openai.APIStatusError as error:
                raise _Failed(
                    "model_grader_server_error", describe_status(self._name, error.status_code)
                ) from None
            except openai.APITimeoutError:
                seconds = self._endpoint.timeout_seconds
                detail = f"{self._name} did not answer within {seconds:g} s ({MAX_RETRIES + 1} tries)"
                raise _Failed("model_grader_server_error", detail) from None
            except ValueError:
                detail = f"{self._name} sent no chat completion"
                raise _Failed("model_grader_server_error", detail) from None
            except openai.APIConnectionError as error:
                raise self._unreachable(error.__cause__ or error) from None
            else:
                self._way = max(self._way, way)
                return answer

    def _check_url(self) -> None:
        if not self._endpoint.on_this_worker:
            try:
                check_url(self._endpoint.base_url)
            except AddressRefused as error:
                raise self._unreachable(error) from None

    def _unreachable(self, cause: BaseException) -> _Failed:
        detail = f"{self._name} cannot be reached at {self._endpoint.base_url}: {explain(cause)}"
        return _Failed("model_grader_server_error", detail)

    def _build_request(self, question: Question, messages: list[ChatMessage], way: int) -> dict[str, object]:
        form, cold = WAYS[way]
        request: dict[str, object] = {"model": self._endpoint.model, "messages": messages}
        if form == "json_schema":
            schema = {"name": "verdict", "schema": question.schema, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            task = f"Answer with one JSON object that satisfies this schema: {json.dumps(question.schema)}"
            request["messages"] = [*messages, {"role": "user", "content": task}]
        if form == "json_object":
            request["response_format"] = {"type": "json_object"}
        if question.cold and cold:
            request["temperature"] = 0
        sampling = question.sampling.model_dump(exclude_none=True) if question.sampling else {}
        if "max_completions_tokens" in sampling:  # the name in OpenAI's graders, not in its API
            sampling["max_completion_tokens"] = sampling.pop("max_completions_tokens")
        return request | sampling

    def _sum_usage(self, usage: list[TokenUsage]) -> dict[str, TokenUsage]:
        """Return the sum by the name of the judge in graders."""
        return {self._name: add_usage(usage)} if usage else {}


def _build_http_client(endpoint: JudgeEndpoint) -> httpx2.AsyncClient:
    """Return a client that follows no redirects and reaches only allowed addresses."""
    allow = None
    if endpoint.on_this_worker:
        url = httpx2.URL(endpoint.base_url)
        allow = AllowList.only(url.host, url.port or 80)
    caps = Caps(MAX_ANSWER_BYTES, endpoint.timeout_seconds)
    return httpx2.AsyncClient(
        transport=OutboundTransport(caps, allow), trust_env=False, follow_redirects=False
    )


def _find_next_way(way: int, question: Question) -> int | None:
    """Return the next way that differs for this question."""
    following = way + 1
    if following < len(WAYS) and WAYS[following][0] == WAYS[way][0] and not question.cold:
        following += 1
    return following if following < len(WAYS) else None


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"
