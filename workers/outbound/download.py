"""Streams a file from a URL that a user named, within caps of bytes and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import httpx2

from workers.outbound.addresses import AllowList, check_url
from workers.outbound.errors import AddressRefused, AnswerRefused, OutboundError, explain
from workers.outbound.transport import Caps, OutboundTransport

OK = 200
IDLE_SECONDS = 30.0


@dataclass(frozen=True)
class Download:
    """Result of a download: bytes, and its URL after redirects."""

    size: int
    url: str
    content_type: str


async def fetch(
    url: str,
    target: BinaryIO,
    *,
    max_bytes: int,
    max_seconds: float,
    redirects: int = 0,
    headers: Mapping[str, str] | None = None,
    on_progress: Callable[[int], None] | None = None,
    allow: AllowList | None = None,
) -> Download:
    """Write the file at ``url`` to ``target``. Raises ``OutboundError``; what is written then is a part.

    ``redirects`` is how many to follow. Each hop is checked like the first, never goes from https to http,
    and takes no ``Authorization`` to another host.
    """
    check_url(url, allow)
    try:
        async with (
            asyncio.timeout(max_seconds),
            _build_client(url, Caps(max_bytes, max_seconds), redirects, allow) as client,
            client.stream("GET", url, headers=dict(headers or {})) as answer,
        ):
            return await _write(answer, target, max_bytes, on_progress)
    except OutboundError:
        raise
    except TimeoutError:
        raise AnswerRefused(f"The download took longer than {max_seconds:g} s.") from None
    except httpx2.TooManyRedirects:
        raise AnswerRefused("The server redirects too often.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise OutboundError(f"{httpx2.URL(url).host} cannot be reached: {explain(error)}.") from None


def download(url: str, target: BinaryIO, **options: object) -> Download:
    """``fetch`` for callers without an event loop."""
    return asyncio.run(fetch(url, target, **options))  # type: ignore[arg-type]


def _build_client(url: str, caps: Caps, redirects: int, allow: AllowList | None) -> httpx2.AsyncClient:
    secure = url.lower().startswith("https:")

    async def check_hop(request: httpx2.Request) -> None:
        check_url(str(request.url), allow)
        if secure and request.url.scheme != "https":
            raise AddressRefused("The server redirects from https to http.")

    return httpx2.AsyncClient(
        transport=OutboundTransport(caps, allow),
        trust_env=False,
        follow_redirects=redirects > 0,
        max_redirects=redirects,
        timeout=httpx2.Timeout(min(IDLE_SECONDS, caps.seconds)),
        event_hooks={"request": [check_hop]},
    )


async def _write(
    answer: httpx2.Response, target: BinaryIO, max_bytes: int, on_progress: Callable[[int], None] | None
) -> Download:
    if answer.is_redirect:
        raise AnswerRefused("The server redirects to another URL. Give that URL.")
    if answer.status_code != OK:
        raise AnswerRefused(f"{answer.url.host} answered with status {answer.status_code}.")
    announced = answer.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and len(announced) < 20 and int(announced) > max_bytes:
        raise AnswerRefused(f"The file is larger than {max_bytes:,} bytes.")
    size = 0
    async for part in answer.aiter_raw():
        target.write(part)
        size += len(part)
        if on_progress:
            on_progress(size)
    return Download(size, str(answer.url), answer.headers.get("content-type", ""))
