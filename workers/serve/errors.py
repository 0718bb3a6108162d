"""Refusals, in the envelope that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError


class ApiError(Exception):
    """Becomes an answer: ``status`` and ``{"error": {"message", "type", "param", "code"}}``."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        error = {"message": message, "type": kind if status < 500 else "server_error", "param": param}
        self.status, self.body = status, {"error": {**error, "code": code}}


def invalid(param: str, reason: str, code: str = "invalid_value") -> ApiError:
    """A field of the request that cannot be what it is."""
    return ApiError(400, f"{param}: {reason}", param, code)


def invalid_fields(error: ValidationError) -> ApiError:
    """Names the first field that is wrong."""
    first: Any = error.errors()[0]
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return invalid(".".join(map(str, first["loc"])), f"{first['msg']}.", code)
