"""Errors of the HTTP API in OpenAI's envelope."""

from __future__ import annotations

from http import HTTPStatus

from django.http import JsonResponse
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

INVALID = "invalid_request_error"
SERVER = "server_error"
RATE_LIMIT = "rate_limit_error"


class ErrorFields(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class Envelope(TypedDict):
    """The body of every error below ``/v1``."""

    error: ErrorFields


class ApiError(Exception):
    """An error for the caller. ``param`` is the dotted path of the field at fault."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.retry_after = retry_after  # seconds

    def build_envelope(self) -> Envelope:
        """Return the body of the response."""
        return build_envelope(self.status, str(self), self.param, self.code)

    def build_response(self) -> JsonResponse:
        """Return the response."""
        headers = {}
        if self.retry_after:
            headers = {"retry-after": str(self.retry_after), "x-should-retry": "true"}
        return JsonResponse(self.build_envelope(), status=self.status, headers=headers)


class NotFound(ApiError):
    """An object that does not exist, or that belongs to another team."""

    def __init__(self, message: str, *, param: str | None = "id", code: str | None = None) -> None:
        super().__init__(message, status=404, param=param, code=code)


def build_envelope(status: int, message: str, param: str | None = None, code: str | None = None) -> Envelope:
    """Return an error's body. The status decides the type."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = RATE_LIMIT
    else:
        kind = SERVER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else INVALID
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
