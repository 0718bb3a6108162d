"""The handler of completions: hundreds are open at once, so each must be cheap.

It needs no session, and its view reads the database in the gateway's few threads. Django's own handler has a
thread for each open request, and switches to it for every middleware and signal.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from django.core.exceptions import RequestAborted
from django.core.handlers.exception import convert_exception_to_response

from webapp.config.bodies import API_BYTES, BodyRefused, LimitedBody, LimitedHandler, LimitedRequest, Scope
from webapp.core.api.middleware import envelop_errors
from webapp.core.request_ids import add_request_id

PATH = "/v1/chat/completions"
IDEMPOTENCY = b"idempotency-key"
MIDDLEWARE = (add_request_id, envelop_errors)


def is_completion(scope: Scope) -> bool:
    """Return True for a request for a chat completion whose answer need not be replayed later."""
    if (scope["type"], scope.get("method"), scope.get("path")) != ("http", "POST", PATH):
        return False
    return all(name != IDEMPOTENCY for name, _ in scope["headers"])


class GatewayHandler(LimitedHandler):
    """Django's handler with the middlewares that the API needs, and without its signals."""

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        try:
            body = LimitedBody(receive, scope, API_BYTES)
            request = LimitedRequest(scope, await self.read_body(body.receive))
        except RequestAborted:
            return
        except BodyRefused as refused:
            await self.send_response(refused.build_response(PATH), send)
            return
        await self._answer_unless_left(request, body.receive, send)

    async def _answer_unless_left(self, request: LimitedRequest, receive: Any, send: Any) -> None:
        """Answer the request. If the caller leaves first, cancel what still runs for it."""
        answering = asyncio.create_task(self._answer(request, send))
        leaving = asyncio.create_task(receive())  # after the body, it returns when the caller has left
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not answering.done():
            answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering

    async def _answer(self, request: LimitedRequest, send: Any) -> None:
        await self.send_response(await self.run_get_response(request), send)

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain; all its middlewares are asynchronous."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        handler: Any = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]
        for middleware in reversed(MIDDLEWARE):
            handler = convert_exception_to_response(middleware(handler))
        self._middleware_chain = handler
