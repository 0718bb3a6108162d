"""Errors of the API, in the format that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.authentication import AuthenticationError

from workers.contract.json_types import JsonObject


class ApiError(Exception):
    """Becomes a response: ``status`` and ``{"error": {"message", "type", "param", "code"}}``."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        error: JsonObject = {
            "message": message,
            "type": kind if status < 500 else "server_error",
            "param": param,
            "code": code,
        }
        self.status: int = status
        self.body: JsonObject = {"error": error}


def invalid_field(param: str, reason: str, code: str = "invalid_value") -> ApiError:
    """Return the error for an invalid field of the request."""
    return ApiError(400, f"{param}: {reason}", param, code)


def as_api_error(error: Exception) -> ApiError:
    """Return the error that the client sees; for several invalid fields, that of the first."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, AuthenticationError):
        return ApiError(401, "The bearer token is missing or wrong.", code="invalid_api_key")
    if isinstance(error, ValidationError):
        first: Any = error.errors()[0]
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        return invalid_field(".".join(map(str, first["loc"])), f"{first['msg']}.", code)
    return ApiError(500, f"The completion could not be generated: {type(error).__name__}: {error}")
