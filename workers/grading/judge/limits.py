"""Limits of an endpoint: requests in flight, requests and tokens a minute, money."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

from workers.contract.spec import JudgeEndpoint
from workers.grading.results import TokenUsage

MINUTE = 60.0
TOKEN_SECONDS = 10.0  # window of the token limit; shorter than a minute, to avoid bursts
MILLION = 1_000_000
CHARACTERS_A_TOKEN = 4  # for the tokens of a request that has not been sent yet


class Limits:
    """Delays requests to stay within the rates; ``exhausted`` if the budget is spent. For one event loop."""

    def __init__(self, endpoint: JudgeEndpoint) -> None:
        self._endpoint = endpoint
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        requests, tokens = endpoint.requests_per_minute, endpoint.tokens_per_minute
        self._requests = AsyncLimiter(1, MINUTE / requests) if requests else None
        self._tokens = AsyncLimiter(tokens * TOKEN_SECONDS / MINUTE, TOKEN_SECONDS) if tokens else None
        self._spent = endpoint.spent

    @property
    def exhausted(self) -> bool:
        """True if the job's budget for this endpoint is spent."""
        budget = self._endpoint.budget
        return budget is not None and self._spent >= budget

    @asynccontextmanager
    async def slot(self, characters: int) -> AsyncIterator[None]:
        """Wait until one request of about so many characters may be sent."""
        async with self._slots:
            if self._requests:
                await self._requests.acquire()
            await self._take_tokens(characters / CHARACTERS_A_TOKEN)
            yield

    async def record_usage(self, prompt: int, completion: int, cached: int, characters: int) -> TokenUsage:
        """Record the tokens of a request; those beyond the estimate delay later requests."""
        await self._take_tokens(prompt + completion - characters / CHARACTERS_A_TOKEN)
        prices = self._endpoint.input_price, self._endpoint.output_price
        cost = (prompt * prices[0] + completion * prices[1]) / MILLION
        self._spent += cost
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cached_tokens": cached,
            "total_tokens": prompt + completion,
            "cost": cost,
        }

    async def _take_tokens(self, number: float) -> None:
        if self._tokens and number > 0:
            await self._tokens.acquire(min(number, self._tokens.max_rate))
