"""The site with a few routes more, for tests of what holds for every route below ``/v1``."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from ninja import Body, File, Form
from ninja.files import UploadedFile

from webapp.config.api import api
from webapp.config.urls import urlpatterns as site
from webapp.core.api.openapi import Api
from webapp.keys.authentication import INFERENCE, READ, WRITE, ApiRequest

sample = Api(urls_namespace="sample")
sample._exception_handlers = api._exception_handlers
CALLS: list[str] = []  # bodies that reached a view


@sample.get("/read", auth=READ)
def read(request: ApiRequest) -> dict[str, Any]:
    return {"team": request.auth.team.slug, "user": request.auth.user and request.auth.user.email}


@sample.post("/write", auth=WRITE)
def write(request: ApiRequest, body: Body[dict[str, Any]]) -> dict[str, Any]:
    CALLS.append(request.body.decode())
    time.sleep(body.get("seconds", 0))
    return {"number": len(CALLS), "body": body}


@sample.post("/infer", auth=INFERENCE)
def infer(request: ApiRequest) -> HttpResponse:
    CALLS.append("")
    return StreamingHttpResponse([f"data: {len(CALLS)}\n\n"], content_type="text/event-stream")


@sample.post("/upload", auth=WRITE)
def upload(request: ApiRequest, file: File[UploadedFile], purpose: Form[str]) -> dict[str, Any]:
    CALLS.append(purpose)
    return {"number": len(CALLS), "bytes": file.size}


@sample.post("/fail", auth=WRITE)
def fail(request: ApiRequest) -> None:
    CALLS.append("")
    raise RuntimeError("a fault")


urlpatterns = [path("v1/sample/", sample.urls), *site]
