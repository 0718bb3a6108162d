"""One request for a completion: find the model, ask its server, pass the answer on, count the use."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from django.utils import timezone
from pydantic_core import from_json

from webapp.serving.gateway import threads
from webapp.serving.gateway.answers import DONE, Answer, split_events
from webapp.serving.gateway.callers import Caller
from webapp.serving.gateway.connections import ConnectionBroken, Response
from webapp.serving.gateway.counting import count_use
from webapp.serving.gateway.limits import hold_place
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.serving.gateway.transcripts import Kept, Transcript
from webapp.serving.gateway.upstream import AnswerLost, open_answer
from webapp.serving.routing import Route
from webapp.serving.usage import UsageKey, Use

log = logging.getLogger(__name__)


@dataclass
class Completion:
    """A request, and the model that answers it."""

    caller: Caller
    request: CompletionRequest
    route: Route
    idempotency_key: str = ""

    def __post_init__(self) -> None:
        keep_ids, transcript = (
            self.request.return_token_ids,
            Transcript() if self.request.store else None,
        )
        self.answer = Answer(self.route, keep_ids, self.request.includes_usage, transcript=transcript)
        self.failed = False
        self.started = time.monotonic()

    async def complete(self) -> bytes:
        """Return the whole answer. Raises ApiError."""
        async with self._counted(), self._opened() as response:
            try:
                content = self.answer.rewrite(from_json(await response.read()))
            except (ConnectionBroken, ValueError) as error:
                raise AnswerLost from error
            await self._store()
            return content

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield the events of the answer. Raises ApiError."""
        async with self._counted(), self._opened() as response:
            async for event in self._rewrite_events(response):
                yield event

    async def _rewrite_events(self, response: Response) -> AsyncIterator[bytes]:
        """Raises ApiError if the stream ends early or another adapter answered."""
        buffer = bytearray()
        try:
            async for block in response.receive():
                buffer += block
                for event in split_events(buffer):
                    done = event.endswith(DONE)
                    if done:
                        await self._store()
                    if rewritten := self.answer.rewrite_chunk(event):
                        yield rewritten
                    if done:
                        return
        except (ConnectionBroken, ValueError) as error:
            raise AnswerLost from error
        raise AnswerLost

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Response]:
        """Open the server's answer, and close it at the end, which stops the generation."""
        response = await open_answer(self.route, self.request)
        try:
            yield response
        finally:
            response.close()

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """Hold a place of the key's limit, and count the use at the end."""
        with hold_place(self.caller.name):
            try:
                yield
            except Exception:
                self.failed = True
                raise
            finally:
                await asyncio.shield(count_use(self._build_key(), self._build_use()))

    def _build_key(self) -> UsageKey:
        team, key = self.caller.team, self.caller.key
        return UsageKey(team.pk, key.pk if key else None, self.route.name, timezone.now().date())

    def _build_use(self) -> Use:
        milliseconds = self._measure()
        return Use(
            requests=1,
            errors=int(self.failed),
            prompt_tokens=self.answer.prompt_tokens,
            completion_tokens=self.answer.completion_tokens,
            milliseconds=milliseconds,
            slowest_milliseconds=milliseconds,
        )

    def _measure(self) -> int:
        """Return the milliseconds since the request began."""
        return round((time.monotonic() - self.started) * 1000)

    async def _store(self) -> None:
        """Keep the completion if the caller wants it, before the end of the answer: then it can be read."""
        if self.answer.transcript is None:
            return
        kept = Kept(
            caller=self.caller,
            request=self.request,
            route=self.route,
            uid=self.answer.uid,
            transcript=self.answer.transcript,
            adapter_sha256=self.answer.reported or "",
            milliseconds=self._measure(),
            idempotency_key=self.idempotency_key,
        )
        try:
            await threads.run(kept.store)
        except Exception:
            log.exception("The completion %s was not stored", kept.uid)
