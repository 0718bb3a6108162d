"""The HTTP API below ``/v1``: one router a noun, one envelope for errors."""

from __future__ import annotations

import logging

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja.errors import HttpError, ValidationError

from webapp.catalog.api import router as models
from webapp.catalog.sharing_api import router as permissions
from webapp.core.api.errors import ApiError, build_envelope
from webapp.core.api.openapi import Api
from webapp.datasets.files.api import files, uploads
from webapp.deployments.api import router as deployments
from webapp.environments.api import router as environments
from webapp.evals.api.views import router as evals
from webapp.graders.api import router as graders
from webapp.interactions.api import feedback, subjects
from webapp.jobs.api.views import router as fine_tuning
from webapp.serving.gateway import api as gateway
from webapp.webhooks.api import router as webhooks

log = logging.getLogger(__name__)
SERVER_FAULT = "The server met an unexpected error. It has been logged under this request's id."

api = Api(
    title="Groove API",
    version="1",
    description="OpenAI's HTTP API, answered by this site. Errors have one form; see /docs/api/.",
    urls_namespace="v1",
)


@api.exception_handler(ApiError)
def answer_api_error(_request: HttpRequest, error: ApiError) -> HttpResponse:
    """Answer with the error's own envelope."""
    return error.build_response()


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
    """Answer ninja's own errors, such as a body that is not JSON, with their cause."""
    message = f"{error}: {error.__cause__}." if error.__cause__ else str(error)
    return JsonResponse(build_envelope(error.status_code, message), status=error.status_code)


@api.exception_handler(RequestDataTooBig)
def answer_too_large(_request: HttpRequest, _error: RequestDataTooBig) -> HttpResponse:
    """Say that the body is too large for this URL."""
    return JsonResponse(build_envelope(413, "The request is too large for this URL."), status=413)


@api.exception_handler(Exception)
def answer_fault(request: HttpRequest, _error: Exception) -> HttpResponse:
    """Log the fault; the caller learns nothing of it."""
    log.exception("%s %s failed", request.method, request.path)
    return JsonResponse(build_envelope(500, SERVER_FAULT), status=500)


api.add_router("/chat/completions", gateway.router)
api.add_router("/deployments", deployments)
api.add_router("/environments", environments)
api.add_router("/evals", evals)
api.add_router("/feedback", feedback.router)
api.add_router("/files", files)
api.add_router("/fine_tuning", fine_tuning)
api.add_router("/fine_tuning/alpha/graders", graders)
api.add_router("/fine_tuning/checkpoints", permissions)
api.add_router("/models", models)
api.add_router("/subjects", subjects.router)
api.add_router("/uploads", uploads)
api.add_router("", webhooks)
