"""The site with a few routes more, for tests of what holds for every route below ``/v1``."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from ninja import Body, File, Form, Schema
from ninja.files import UploadedFile

from webapp.config.api import api
from webapp.config.urls import urlpatterns as site
from webapp.core.api.openapi import Api
from webapp.jobs.models import Job
from webapp.keys.authentication import INFERENCE, READ, WRITE, ApiRequest


class Answer(Schema):
    number: int


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


@sample.get("/lie", auth=READ, response=Answer)
def lie(request: ApiRequest) -> HttpResponse:
    return JsonResponse({"number": "one"})


@sample.get("/leak/{job_id}", auth=READ)
def leak(request: ApiRequest, job_id: str) -> dict[str, str]:
    return {"id": get_object_or_404(Job, uid=job_id).uid}


@sample.post("/leak/{job_id}", auth=WRITE)
def change(request: ApiRequest, job_id: str) -> dict[str, str]:
    Job.objects.filter(uid=job_id).update(name="changed")
    return {}


@sample.get("/leaks", auth=READ)
def list_leaks(request: ApiRequest) -> list[str]:
    return list(Job.objects.values_list("uid", flat=True))


urlpatterns = [path("v1/sample/", sample.urls), *site]
