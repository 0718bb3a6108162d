"""Reads files and jobs of another service through OpenAI's SDK and the outbound client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, TypeVar, cast

import httpx2
import openai
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from webapp.core.fields import replace_nul
from webapp.remote_imports.models import ID_LENGTH
from workers import outbound
from workers.contract.json_types import JsonObject

T = TypeVar("T")
MOST_FILES, MOST_JOBS = 200, 100  # the newest ones are listed
ANSWER = outbound.Caps(size=16 * 2**20, seconds=60.0)
FILE_SECONDS = 3600.0
CHUNK_BYTES = 2**18
REMOTE_ID = re.compile(rf"[A-Za-z0-9_.:-]{{1,{ID_LENGTH}}}", re.ASCII)
NO_FORM = "The service answered in another form than OpenAI's API. Check the base URL."


class RemoteError(Exception):
    """The service did not give what was asked for. The message says why, in our own words."""


@dataclass(frozen=True)
class RemoteFile:
    """A file for fine-tuning, as the service lists it."""

    id: str
    name: str
    bytes: int
    created_at: datetime | None


@dataclass(frozen=True)
class RemoteJob:
    """A fine-tuning job, as the service lists it."""

    id: str
    model: str
    method: str
    grader: str
    status: str
    tuned_model: str
    created_at: datetime | None


@dataclass(frozen=True)
class Content:
    """The newest files and jobs of an account."""

    files: list[RemoteFile]
    jobs: list[RemoteJob]

    @property
    def empty(self) -> bool:
        return not self.files and not self.jobs


class Remote:
    """An account at another service. Every method raises RemoteError."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url, self._key = base_url, key

    def list_content(self) -> Content:
        """List the newest files for fine-tuning and the newest jobs."""
        return self._run(_list_content, "The list of files or jobs")

    def fetch_file(self, file_id: str) -> RemoteFile:
        """Return what the service knows about a file."""

        async def fetch(client: openai.AsyncOpenAI) -> RemoteFile:
            return _read_file(_read_object(await client.files.retrieve(file_id)))

        return self._run(fetch, f"File {file_id}")

    def fetch_job(self, job_id: str) -> JsonObject:
        """Return a job's object as JSON."""

        async def fetch(client: openai.AsyncOpenAI) -> JsonObject:
            return _read_object(await client.fine_tuning.jobs.retrieve(job_id))

        return self._run(fetch, f"Job {job_id}")

    def download(self, file_id: str, target: BinaryIO) -> None:
        """Write a file's content to ``target``."""

        async def fetch(client: openai.AsyncOpenAI) -> None:
            async with client.files.with_streaming_response.content(file_id) as answer:
                async for part in answer.iter_bytes(CHUNK_BYTES):
                    target.write(part)

        caps = outbound.Caps(settings.MAX_API_FILE_BYTES, FILE_SECONDS)
        self._run(fetch, f"The content of file {file_id}", caps)

    @sensitive_variables()
    def _run(
        self,
        work: Callable[[openai.AsyncOpenAI], Awaitable[T]],
        what: str,
        caps: outbound.Caps = ANSWER,
    ) -> T:
        async def connect() -> T:
            http = httpx2.AsyncClient(transport=outbound.OutboundTransport(caps), trust_env=False)
            client = openai.AsyncOpenAI(
                base_url=self.base_url, api_key=self._key, http_client=http, timeout=caps.seconds
            )
            async with client, asyncio.timeout(caps.seconds):
                return await work(client)

        with _explain(what):
            outbound.require_https(self.base_url)  # the key must not travel in the clear
            return asyncio.run(connect())


@contextmanager
def _explain(what: str) -> Iterator[None]:
    """Raise RemoteError for any failure. It quotes nothing that the service sent."""
    try:
        yield
    except openai.APIConnectionError as error:
        raise RemoteError(f"The service cannot be reached: {_find_reason(error)}.") from error
    except openai.APIStatusError as error:
        raise RemoteError(_describe_status(error.status_code, what)) from error
    except outbound.OutboundError as error:
        raise RemoteError(str(error)) from error
    except TimeoutError as error:
        raise RemoteError("The service took too long.") from error
    except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
        raise RemoteError(NO_FORM) from error


def _find_reason(error: openai.APIConnectionError) -> str:
    return outbound.explain(error.__cause__ or error).rstrip(".")


def _describe_status(status: int, what: str) -> str:
    if status == 401:
        return "The service refused the key."
    if status == 403:
        return f"{what}: the key has no right to read it."
    if status == 404:
        return f"{what} is not at this service."
    if status == 429:
        return "The service limits its requests. Try again later."
    return f"{what}: the service answered with status {status}."


# --- reading objects, whose types the SDK does not check --------------------------------------------


async def _list_content(client: openai.AsyncOpenAI) -> Content:
    files = [
        _read_file(_read_object(each))
        async for each in _take(client.files.list(purpose="fine-tune", order="desc", limit=100), MOST_FILES)
    ]
    jobs = [
        _read_job(_read_object(each))
        async for each in _take(client.fine_tuning.jobs.list(limit=100), MOST_JOBS)
    ]
    return Content(files, jobs)


async def _take(pages: AsyncIterable[T], most: int) -> AsyncIterator[T]:
    count = 0
    async for each in pages:
        yield each
        count += 1
        if count == most:
            return


def _read_object(found: openai.BaseModel) -> JsonObject:
    """Return an object as JSON, with the fields that the SDK does not know."""
    return cast(JsonObject, found.to_dict(mode="json", warnings=False))


def read_text(value: object, most: int = 200) -> str:
    """Return a text of the service, as far as it can be stored and shown; empty for another type."""
    return replace_nul(value).encode(errors="replace").decode()[:most] if isinstance(value, str) else ""


def _read_id(found: JsonObject) -> str:
    """Return the object's id. Raises ValueError for one that no request could name."""
    uid = found.get("id")
    if not isinstance(uid, str) or not REMOTE_ID.fullmatch(uid):
        raise ValueError("an object without a usable id")
    return uid


def _read_time(value: object) -> datetime | None:
    if not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _read_file(found: JsonObject) -> RemoteFile:
    size = found.get("bytes")
    return RemoteFile(
        id=_read_id(found),
        name=read_text(found.get("filename")),
        bytes=size if isinstance(size, int) else 0,
        created_at=_read_time(found.get("created_at")),
    )


def read_method(job: JsonObject) -> tuple[str, JsonObject]:
    """Return the type of a job's method, and the object of that name. Absent, it is supervised."""
    method = job.get("method")
    kind = read_text(method.get("type")) if isinstance(method, dict) else ""
    values = method.get(kind) if isinstance(method, dict) else None
    return kind or "supervised", values if isinstance(values, dict) else {}


def _read_job(found: JsonObject) -> RemoteJob:
    method, values = read_method(found)
    grader = values.get("grader")
    return RemoteJob(
        id=_read_id(found),
        model=read_text(found.get("model")),
        method=method,
        grader=read_text(grader.get("name") or grader.get("type")) if isinstance(grader, dict) else "",
        status=read_text(found.get("status")),
        tuned_model=read_text(found.get("fine_tuned_model")),
        created_at=_read_time(found.get("created_at")),
    )
