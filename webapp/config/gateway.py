"""The handler of completions: many are open at once, so each must be cheap.

It needs no session, and its view reads the database in the gateway's few threads. Django's own handler has a
thread for each open request and switches to it for every middleware.
"""

from __future__ import annotations

from typing import Any

from django.core.handlers.exception import convert_exception_to_response

from webapp.config.bodies import LimitedHandler, Scope
from webapp.core.api.middleware import envelop_errors
from webapp.core.request_ids import add_request_id

PATH = "/v1/chat/completions"
MIDDLEWARE = (add_request_id, envelop_errors)


def is_completion(scope: Scope) -> bool:
    """Return True for a request for a chat completion."""
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == PATH


class GatewayHandler(LimitedHandler):
    """Django's handler with the middlewares that the API needs."""

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self.handle(scope, receive, send)

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain; all its middlewares are asynchronous."""
        self._view_middleware, self._template_response_middleware, self._exception_middleware = [], [], []
        handler: Any = convert_exception_to_response(self._get_response_async)
        for middleware in reversed(MIDDLEWARE):
            handler = convert_exception_to_response(middleware(handler))
        self._middleware_chain = handler
