"""Sends a small body to a URL that a user named, and reads nothing but the status of the response."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx2

from workers.outbound.addresses import AllowList, check_url
from workers.outbound.errors import AnswerRefused, OutboundError, explain
from workers.outbound.transport import Caps, OutboundTransport


async def send(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    max_seconds: float,
    allow: AllowList | None = None,
) -> int:
    """POST ``body`` and return the status. Raises ``OutboundError``. Redirects are not followed."""
    check_url(url, allow)
    try:
        async with (
            asyncio.timeout(max_seconds),
            httpx2.AsyncClient(
                transport=OutboundTransport(Caps(0, max_seconds), allow), trust_env=False, timeout=max_seconds
            ) as client,
            client.stream("POST", url, content=body, headers=dict(headers)) as answer,
        ):
            return answer.status_code
    except OutboundError:
        raise
    except TimeoutError:
        raise AnswerRefused(f"The request took longer than {max_seconds:g} s.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise OutboundError(f"{httpx2.URL(url).host} cannot be reached: {explain(error)}.") from None


def post(url: str, body: bytes, *, headers: Mapping[str, str], max_seconds: float) -> int:
    """``send`` for callers without an event loop."""
    return asyncio.run(send(url, body, headers=headers, max_seconds=max_seconds))
