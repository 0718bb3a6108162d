"""The HTTP API below ``/v1``: one router a noun, one envelope for errors."""

from __future__ import annotations

import logging

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, Throttled, ValidationError

from webapp.core.api.errors import ApiError, build_envelope
from webapp.deployments import api as deployments
from webapp.interactions.api import feedback, subjects
from webapp.keys.authentication import KeyThrottle
from webapp.serving.gateway import api as gateway

log = logging.getLogger(__name__)
SERVER_FAULT = "The server met an unexpected error. It has been logged under this request's id."

api = NinjaAPI(
    title="Groove API",
    version="1",
    urls_namespace="v1",
    docs_url=None,
    openapi_url=None,
    throttle=[KeyThrottle()],
)


@api.exception_handler(ApiError)
def answer_api_error(_request: HttpRequest, error: ApiError) -> HttpResponse:
    """Answer with the error's own envelope."""
    headers = {}
    if error.retry_after:
        headers = {"retry-after": str(error.retry_after), "x-should-retry": "true"}
    return JsonResponse(error.build_envelope(), status=error.status, headers=headers)


@api.exception_handler(ValidationError)
def answer_invalid_request(_request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Name the first field that does not fit, by its dotted path."""
    first = error.errors[0]
    path = [str(part) for part in first["loc"][1:]]
    if len(path) > 1 and first["loc"][0] in ("body", "form", "file"):
        path = path[1:]  # ninja puts the parameter's name first
    param = ".".join(path) or None
    missing = first["type"] == "missing"
    code = "missing_required_parameter" if missing else "invalid_value"
    message = f"Missing required parameter: '{param}'." if missing else f"Invalid '{param}': {first['msg']}."
    return JsonResponse(build_envelope(400, message, param, code), status=400)


@api.exception_handler(Throttled)
def answer_throttled(_request: HttpRequest, error: Throttled) -> HttpResponse:
    """Say when the key may send its next request."""
    wait = max(1, int(error.wait or 1))
    message = f"Rate limit reached for this key. Try again in {wait} s."
    body = build_envelope(429, message, code="rate_limit_exceeded")
    return JsonResponse(body, status=429, headers={"retry-after": str(wait)})


@api.exception_handler(Http404)
def answer_not_found(_request: HttpRequest, _error: Http404) -> HttpResponse:
    """Another team's object is not found either."""
    return JsonResponse(build_envelope(404, "No such object."), status=404)


@api.exception_handler(PermissionDenied)
def answer_forbidden(_request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    """Say which role is missing."""
    return JsonResponse(build_envelope(403, str(error)), status=403)


@api.exception_handler(BadRequest)
def answer_bad_request(_request: HttpRequest, error: BadRequest) -> HttpResponse:
    """Say what cannot be read."""
    return JsonResponse(build_envelope(400, str(error)), status=400)


@api.exception_handler(HttpError)
def answer_http_error(_request: HttpRequest, error: HttpError) -> HttpResponse:
    """Answer ninja's own errors, such as a body that is not JSON."""
    return JsonResponse(build_envelope(error.status_code, str(error)), status=error.status_code)


@api.exception_handler(Exception)
def answer_fault(request: HttpRequest, _error: Exception) -> HttpResponse:
    """Log the fault; the caller learns nothing of it."""
    log.exception("%s %s failed", request.method, request.path)
    return JsonResponse(build_envelope(500, SERVER_FAULT), status=500)


api.add_router("/chat/completions", gateway.router)
api.add_router("/deployments", deployments.router)
api.add_router("/feedback", feedback.router)
api.add_router("/subjects", subjects.router)
