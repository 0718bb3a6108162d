"""The sample of a row: given with the row, or written by a model that the gateway asks."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any, TypedDict

from asgiref.sync import async_to_sync
from pydantic import ValidationError
from pydantic_core import from_json

from webapp.core.api.errors import ApiError
from webapp.core.fields import replace_nul
from webapp.evals.data_sources import build_request
from webapp.evals.messages import MessagesInvalid, build_messages
from webapp.evals.models import EvalRun
from webapp.serving.gateway.callers import Caller
from webapp.serving.gateway.completions import Completion
from webapp.serving.gateway.connections import close_connections
from webapp.serving.gateway.counting import write_uses
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.serving.routing import Route, find_route
from webapp.work.errors import LeaseLost, WorkFailed
from workers.contract.json_types import JsonObject

AT_ONCE = 8
WAIT_SECONDS = 300.0  # for a model that loads
RETRY_SECONDS = 5
REFUSED_STATUSES = (429, 503)
NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0, "total_tokens": 0}


class SampleError(TypedDict):
    code: str
    message: str


class Sample(TypedDict):
    """What was asked and answered, as the API shows it. ``error`` says why there is no answer."""

    error: SampleError | None
    finish_reason: str
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]
    model: str
    max_completion_tokens: int | None
    seed: int | None
    temperature: float | None
    top_p: float | None
    usage: dict[str, int]


DELETED: SampleError = {
    "code": "completion_deleted",
    "message": "The stored completion was deleted before its row was graded.",
}


def _build_sample(text: str | None, **more: Any) -> Sample:
    output = [] if text is None else [{"role": "assistant", "content": replace_nul(text)}]
    fields: Sample = {
        "error": None, "finish_reason": "", "input": [], "output": output, "model": "",
        "max_completion_tokens": None, "seed": None, "temperature": None, "top_p": None, "usage": NO_USAGE,
    }  # fmt: skip
    return fields | more  # type: ignore[return-value]


def get_text(sample: Sample) -> str:
    """Return the text that is graded."""
    return sample["output"][0]["content"] if sample["output"] else ""


def collect_samples(run: EvalRun, rows: list[JsonObject], lost: threading.Event) -> list[Sample]:
    """Return the sample of each row. A row that the model refuses has an error.

    Raises WorkFailed if the model does not answer, and LeaseLost.
    """
    if not run.model:
        return [_read_sample(row) for row in rows]
    try:
        route = find_route(run.team, run.model)
    except ApiError as error:
        raise WorkFailed(str(error), "Create a run with another model.") from error
    caller = Caller(run.team, run.created_by, run.key)
    return async_to_sync(_ask_all)(Asking(run, caller, route, lost), rows)


def _read_sample(row: JsonObject) -> Sample:
    if row.get("deleted"):
        return _build_sample(None, error=DELETED)
    given: Any = row.get("sample") or {}
    return _build_sample(given.get("output_text", ""), model=str(given.get("model", "")))


@dataclass
class Asking:
    """A run whose rows are put to a model."""

    run: EvalRun
    caller: Caller
    route: Route
    lost: threading.Event

    def build_request(self, row: JsonObject) -> CompletionRequest:
        """Return the request for a row. Raises MessagesInvalid and ``pydantic.ValidationError``."""
        source: Any = self.run.data_source
        prompt = build_messages(source["input_messages"], row["item"])  # type: ignore[arg-type]
        return build_request(self.run.model, prompt, source.get("sampling_params"))

    async def ask(self, request: CompletionRequest) -> JsonObject:
        """Return the completion, waiting for a model that loads. Raises ApiError, WorkFailed, LeaseLost."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            if self.lost.is_set():
                raise LeaseLost
            try:
                answer: JsonObject = from_json(await Completion(self.caller, request, self.route).complete())
            except ApiError as error:
                if error.status not in REFUSED_STATUSES:
                    raise
                if time.monotonic() > end:
                    raise WorkFailed(str(error), "Create the run again when the model answers.") from error
                await asyncio.sleep(min(error.retry_after or RETRY_SECONDS, RETRY_SECONDS))
            else:
                return answer


async def _ask_all(asking: Asking, rows: list[JsonObject]) -> list[Sample]:
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(row: JsonObject) -> Sample:
        async with places:
            return await _ask(asking, row)

    tasks = [asyncio.ensure_future(ask(row)) for row in rows]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:  # after the first failure
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await write_uses()
        await close_connections()


async def _ask(asking: Asking, row: JsonObject) -> Sample:
    if row.get("deleted"):
        return _build_sample(None, error=DELETED, model=asking.run.model)
    try:
        request = asking.build_request(row)
        answer = await asking.ask(request)
    except (MessagesInvalid, ValidationError) as error:
        return _refuse(asking, "invalid_input", error)
    except ApiError as error:
        return _refuse(asking, error.code or "model_error", error)
    return _describe_answer(request, answer)


def _refuse(asking: Asking, code: str, error: Exception) -> Sample:
    problem = {"code": code, "message": replace_nul(str(error))}
    return _build_sample(None, error=problem, model=asking.run.model)


def _describe_answer(request: CompletionRequest, answer: Any) -> Sample:
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    asked = request.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return _build_sample(
        choice["message"].get("content") or "",
        finish_reason=choice.get("finish_reason") or "",
        input=[{"role": each["role"], "content": each.get("content") or ""} for each in asked["messages"]],
        model=answer["model"],
        usage=NO_USAGE | {name: count for name, count in usage.items() if name in NO_USAGE},
        **{name: asked.get(name) for name in ("max_completion_tokens", "seed", "temperature", "top_p")},
    )
