"""Refusals, in the envelope that OpenAI's clients read."""

from __future__ import annotations

import sys
import traceback
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


def refusal(error: Exception) -> ApiError:
    """What the caller is told; of fields that are wrong the first, and of a failure of ours the log too."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        first: Any = error.errors()[0]
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        return invalid(".".join(map(str, first["loc"])), f"{first['msg']}.", code)
    traceback.print_exception(error, file=sys.stderr)
    return ApiError(500, f"The answer could not be written: {type(error).__name__}: {error}")
