"""The comparison of a job: base against tuned on rows that training never saw."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.config.streaming import streamed
from webapp.jobs.models import Job
from webapp.teams.access import Access, member

from . import paired, presenters
from .models import Evaluation

PAGE = 20


@member()
@require_GET
def compare(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The numbers first, then the answers of both models row by row."""
    job = access.get(Job.objects.select_related("team", "tuned_model"), uid=uid)
    evaluations = list(presenters.comparisons(job))
    evaluation = presenters.chosen(evaluations, request.GET.get("evaluation", ""))
    if evaluation is None:
        return render(request, "evaluations/compare.html", {"job": job})
    query = {key: value for key in ("show", "sort", "text") if (value := request.GET.get(key))}
    rows = presenters.selected(evaluation, query)
    level = presenters.confidence(job)
    context = {
        "job": job,
        "evaluations": evaluations,
        "evaluation": evaluation,
        "confidence": level,
        "verdict": paired.verdict(evaluation, level),
        **paired.context(evaluation),
        "figure": presenters.figure(evaluation),
        "pass_at": presenters.pass_at(evaluation),
        "shows": [(key, label) for key, (label, _) in presenters.SHOWN.items()],
        "sorts": presenters.SORTS.items(),
        "query": query,
        "page": Paginator(rows, PAGE).get_page(request.GET.get("page")),
    }
    return render(request, "evaluations/compare.html", context)


@member()
@require_GET
def csv(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """Every answer of the chosen comparison."""
    evaluation = _wanted(request, access, uid)
    headers = _download(evaluation, "csv")
    lines = streamed(presenters.csv_lines(evaluation))
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


@member()
@require_GET
def numbers(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Every number of the chosen comparison."""
    evaluation = _wanted(request, access, uid)
    content = paired.exported(evaluation, presenters.confidence(evaluation.job))
    return JsonResponse(content, json_dumps_params={"indent": 2}, headers=_download(evaluation, "json"))


def _wanted(request: HttpRequest, access: Access, uid: str) -> Evaluation:
    job = access.get(Job.objects.all(), uid=uid)
    evaluation = presenters.chosen(list(presenters.comparisons(job)), request.GET.get("evaluation", ""))
    if evaluation is None:
        raise Http404("This job has no comparison yet; it is made once training has ended.")
    return evaluation


def _download(evaluation: Evaluation, kind: str) -> dict[str, str]:
    name = f"{evaluation.job.uid}-{evaluation.stage}-step-{evaluation.step}.{kind}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}
