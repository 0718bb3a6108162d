"""Asks a judge model, through the ``openai`` client, for JSON in a stated form."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from workers.contract.events import GradingErrorClass
from workers.contract.graders import SamplingParams
from workers.contract.spec import JudgeEndpoint
from workers.grading.judge.cache import VerdictCache, key_of
from workers.grading.judge.limits import Limits
from workers.grading.judge.verdicts import content_text, parse_verdict, refusal_of
from workers.grading.results import TokenUsage, add_usage
from workers.grading.thoughts import without_thoughts
from workers.outbound import AddressRefused, AllowList, Caps, OutboundTransport, check_url, explain

T = TypeVar("T")
Json = dict[str, Any]

MAX_RETRIES = (
    2  # the client's own: after connection errors, 408, 409, 429 and 5xx, with backoff or retry-after
)
MAX_ANSWER_BYTES = 4 * 2**20
EXCERPT = 400
FORM_VERSION = 1  # part of cache keys: raise it when a prompt of ours changes

# How the form of the answer is asked for, and whether temperature 0 is; each is tried when the one before was
# answered by 400, and what worked is kept.
WAYS = (("json_schema", True), ("json_schema", False), ("json_object", False), ("text", False))


@dataclass(frozen=True)
class Question:
    """``read`` turns the answer's JSON into what is wanted; it raises ``ValueError`` for a wrong answer.

    ``cold`` asks for temperature 0 where ``sampling`` names none and the model permits it.
    """

    messages: list[Json]
    schema: Json
    read: Callable[[Any], Any]
    sampling: SamplingParams | None = None
    cold: bool = False


@dataclass(frozen=True)
class Reply:
    """``value`` is what the question's ``read`` made of the answer, or ``error_class`` says why not."""

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
    """What is read of a chat completion; servers add much, and leave much out."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage = _Usage()


class _Failed(Exception):
    def __init__(self, error_class: GradingErrorClass, detail: str) -> None:
        super().__init__(detail)
        self.error_class, self.detail = error_class, detail


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="judges", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


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
            http_client=_http_client(endpoint),
        )

    def all(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Runs coroutines of this judge at once, within its limits; results in order."""

        return self._loop.submit(self.gather(work)).result()

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """The same from within a coroutine of this judge. Raises the first exception once all have ended."""
        ended = await asyncio.gather(*work, return_exceptions=True)
        for result in ended:
            if isinstance(result, BaseException):
                raise result
        return [result for result in ended if not isinstance(result, BaseException)]

    def close(self) -> None:
        self._loop.submit(self._client.close()).result()

    async def ask(self, question: Question) -> Reply:
        """The reply, from the cache or from a like question under way if there is one. Never raises."""
        sampling = question.sampling.model_dump() if question.sampling else None
        endpoint = self._endpoint
        key = key_of(
            FORM_VERSION, endpoint.revision or endpoint.base_url, endpoint.model, question.messages,
            question.schema, sampling, question.cold,
        )  # fmt: skip
        if (known := self._known(key, question)) is not None:
            return known
        if key in self._pending:
            first = await asyncio.shield(self._pending[key])
            return Reply(first.value, first.error_class, first.detail, cached=not first.error_class)
        self._pending[key] = asyncio.get_running_loop().create_future()
        reply = await self._asked(question, key)
        self._pending.pop(key).set_result(reply)
        return reply

    def _known(self, key: str, question: Question) -> Reply | None:
        verdict = self._cache.get(key)
        if verdict is None:
            return None
        try:
            return Reply(question.read(verdict), cached=True)
        except ValueError:
            return None

    async def _asked(self, question: Question, key: str) -> Reply:
        """Asks, and once more with the complaint if the answer has the wrong form."""
        started = time.perf_counter()
        usage: list[TokenUsage] = []
        messages = question.messages
        failure = _Failed("other_error", "")
        try:
            for _ in range(2):
                text = await self._text(question, messages, usage)
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
                    return Reply(value, usage=self._sum(usage), seconds=time.perf_counter() - started)
        except _Failed as error:
            failure = error
        except Exception as error:
            failure = _Failed("model_grader_server_error", f"{self._name} failed: {type(error).__name__}")
        seconds = time.perf_counter() - started
        return Reply(None, failure.error_class, failure.detail, self._sum(usage), seconds=seconds)

    async def _text(self, question: Question, messages: list[Json], usage: list[TokenUsage]) -> str:
        """One answer's text. Raises ``_Failed``."""
        characters = sum(len(message["content"]) for message in messages)
        async with self._limits.slot(characters):
            if self._limits.exhausted:
                said = f"{self._name}: this job's budget of {self._endpoint.budget:g} is spent"
                raise _Failed("model_grader_server_error", said)
            completion = await self._completion(question, messages)
        try:
            answer = _Completion.model_validate(completion)
        except ValidationError as error:
            raise _Failed("model_grader_server_error", f"{self._name} sent no chat completion") from error
        cached = answer.usage.prompt_tokens_details or _Details()
        tokens = answer.usage.prompt_tokens, answer.usage.completion_tokens, cached.cached_tokens or 0
        usage.append(await self._limits.used(*tokens, characters))
        choice = answer.choices[0]
        refusal = choice.message.refusal or refusal_of(choice.message.content)
        if refusal or choice.finish_reason == "content_filter":
            said = refusal or "its content filter stopped the answer"
            raise _Failed("model_grader_refusal_error", f"{self._name} refused: {_excerpt(said)}")
        return content_text(choice.message.content or "")

    async def _completion(self, question: Question, messages: list[Json]) -> Any:
        """Tries each way of asking until one is not answered by 400."""
        way = self._way
        self._check_address()
        while True:
            try:
                # The method for chat completions spends more time on types than all the rest takes.
                body = self._request(question, messages, way)
                answer = await self._client.post("/chat/completions", body=body, cast_to=object)
            except openai.BadRequestError as error:
                following = _next_way(way, question)
                if following is None:
                    raise _Failed("model_grader_server_error", self._said(error)) from None
                way = following
            except openai.APIStatusError as error:
                raise _Failed("model_grader_server_error", self._said(error)) from None
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

    def _check_address(self) -> None:
        if not self._endpoint.on_this_worker:
            try:
                check_url(self._endpoint.base_url)
            except AddressRefused as error:
                raise self._unreachable(error) from None

    def _unreachable(self, cause: BaseException) -> _Failed:
        detail = f"{self._name} cannot be reached at {self._endpoint.base_url}: {explain(cause)}"
        return _Failed("model_grader_server_error", detail)

    def _request(self, question: Question, messages: list[Json], way: int) -> Json:
        form, cold = WAYS[way]
        request: Json = {"model": self._endpoint.model, "messages": messages}
        if form == "json_schema":
            schema = {"name": "verdict", "schema": question.schema, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            stated = f"Answer with one JSON object that satisfies this schema: {json.dumps(question.schema)}"
            request["messages"] = [*messages, {"role": "user", "content": stated}]
        if form == "json_object":
            request["response_format"] = {"type": "json_object"}
        if question.cold and cold:
            request["temperature"] = 0
        chosen = question.sampling.model_dump(exclude_none=True) if question.sampling else {}
        if "max_completions_tokens" in chosen:
            chosen["max_completion_tokens"] = chosen.pop("max_completions_tokens")
        return request | chosen

    def _said(self, error: openai.APIStatusError) -> str:
        remedy = {
            401: "Check the key.",
            403: "Check what the key may use.",
            404: "Check the address and the model's name.",
            429: "Lower the limits, or raise them at the provider.",
        }
        if error.status_code in range(300, 400):
            return f"{self._name} redirects to another URL (status {error.status_code}). Give that URL."
        advice = remedy.get(error.status_code, "Its server or our request is at fault.")
        return f"{self._name} answered with status {error.status_code}. {advice}"

    def _sum(self, usage: list[TokenUsage]) -> dict[str, TokenUsage]:
        """Under the name that the grader calls the judge by."""
        return {self._name: add_usage(usage)} if usage else {}


def _http_client(endpoint: JudgeEndpoint) -> httpx2.AsyncClient:
    """A client that follows no redirect and reaches allowed addresses only."""
    allow = None
    if endpoint.on_this_worker:
        url = httpx2.URL(endpoint.base_url)
        allow = AllowList.only(url.host, url.port or 80)
    caps = Caps(MAX_ANSWER_BYTES, endpoint.timeout_seconds)
    return httpx2.AsyncClient(
        transport=OutboundTransport(caps, allow), trust_env=False, follow_redirects=False
    )


def _next_way(way: int, question: Question) -> int | None:
    """The next way that differs for this question."""
    following = way + 1
    if following < len(WAYS) and WAYS[following][0] == WAYS[way][0] and not question.cold:
        following += 1
    return following if following < len(WAYS) else None


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"
