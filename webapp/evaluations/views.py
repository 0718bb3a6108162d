"""The comparison of a job: base against tuned on rows that training never saw."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from webapp.core.http import HtmxRequest
from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.core.streaming import format_csv, stream_lazily
from webapp.evaluations import comparison_report, presenters, services, voting
from webapp.evaluations.models import Note
from webapp.evaluations.row_outcomes import outcomes_of
from webapp.jobs.models import ComparedRow, Evaluation, Job
from webapp.teams.access import Access, member
from webapp.teams.models import Role, User

PAGE, LINES = 10, 50
RELATED = ("team", "tuned_model", "dataset_version", "grader_version__grader")


@member()
@require_GET
def compare(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """The numbers first, then the answers of both models row by row, or as a table.

    While the job runs, htmx asks which comparisons have come since the page was drawn.
    """
    jobs = Job.objects.with_cursor().select_related(*RELATED)
    job = access.get(jobs, uid=uid)
    evaluations = list(presenters.comparisons(job))
    evaluation = presenters.chosen(evaluations, request.GET.get("evaluation", ""))
    context = {"job": job, "evaluations": evaluations, "evaluation": evaluation}
    if request.htmx.target == "comparisons":
        context["arrived"] = presenters.arrived(evaluations, request.GET.get("seen", ""))
        return render(request, "evaluations/comparisons.html", context)
    if job.live:
        context |= {"seen": max((each.pk for each in evaluations), default=0)}
    if evaluation:
        context |= _shown(request, access, evaluation)
    return render(request, "evaluations/compare.html", context)


def _shown(request: HttpRequest, access: Access, evaluation: Evaluation) -> dict[str, Any]:
    """The numbers of a comparison, and its rows as the address asks for them."""
    job, query = evaluation.job, presenters.asked(request.GET)
    rows, table = presenters.selected(evaluation, query), request.GET.get("view") == "table"
    level = presenters.confidence(job)
    page = Paginator(rows, LINES if table else PAGE).get_page(request.GET.get("page"))
    references = presenters.references(job, page)
    return {
        "confidence": level,
        "outcomes": outcomes_of(evaluation, level),
        "verdict": comparison_report.verdict(evaluation, level),
        **comparison_report.context(evaluation),
        "figure": presenters.figure(evaluation),
        "pass_at": presenters.pass_at(evaluation),
        "shows": [(key, label) for key, (label, _) in presenters.SHOWN.items()],
        "sorts": presenters.SORTS.items(),
        "query": query,
        "address": urlencode({"evaluation": evaluation.pk} | query),
        "tasks": [task.name for task in job.loaded_tasks],
        **_votes(evaluation, access),
        "longest": Note.LONGEST,
        "back": request.GET.urlencode(),
        "table": table,
        **presenters.differences(request.GET.get("marks", ""), references),
        "judged_rows": presenters.judged_rows(job, page),
        "fold": "row" not in query and query.get("show") != "tie",
        "page": page,
    }


@member(Role.EDITOR)
def vote(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Two answers side by side, and no word on whose they are; ``?row=`` shows one again."""
    evaluation = _wanted(request, access, uid)
    rows = voting.pairs(evaluation)
    if request.method == "POST" and request.POST.get("side") in voting.SIDES:
        judged = get_object_or_404(rows, pk=_number(request.POST.get("row")))
        if not voting.saw(judged, access.user, request.POST.get("shown", "")):
            messages.error(request, "This page was too old to know which answer stood left. Look again.")
            return redirect(f"{request.path}?evaluation={evaluation.pk}&row={judged.pk}")
        voting.vote(judged, access.user, request.POST["side"])
        return redirect(f"{request.path}?evaluation={evaluation.pk}&last={judged.pk}")
    row = _asked_row(request, access, evaluation)
    given = row and row.votes.filter(user=access.user).select_related("user").first()
    context: dict[str, Any] = {
        "job": evaluation.job,
        "evaluation": evaluation,
        "row": row,
        "shown": voting.shown(row, access.user) if row else "",
        "answers": _blind(row, access.user) if row else [],
        "given": voting.side_of(given, row) if given and row else "",
        "all": rows.count(),
        "mine": voting.votes_on(evaluation).filter(user=access.user).count(),
        "last": _number(request.GET.get("last")),
    }
    return render(request, "evaluations/vote.html", context)


@member(Role.EDITOR)
@require_POST
def note(request: HtmxRequest, access: Access, uid: str, row: int) -> HttpResponse:
    """Keep, change or, where it comes empty, remove one's note on a row."""
    job = access.get(Job.objects.all(), uid=uid)
    noted = get_object_or_404(ComparedRow, evaluation__job=job, pk=row)
    typed, problem = request.POST.get("text", ""), ""
    try:
        services.write_note(noted, access.user, typed)
    except ValueError as error:
        problem = str(error)
    if request.htmx:
        context = {"job": job, "row": noted, "longest": Note.LONGEST, "back": request.GET.urlencode()}
        if problem:
            context |= {"problem": problem, "typed": typed}
        return render(request, "evaluations/notes.html", context)
    if problem:
        messages.error(request, problem)
    page = reverse("evaluations:compare", args=[access.team.slug, uid])
    return redirect(f"{page}?{request.GET.urlencode()}#row-{noted.index}")


def _asked_row(request: HttpRequest, access: Access, evaluation: Evaluation) -> ComparedRow | None:
    if again := _number(request.GET.get("row")):
        return get_object_or_404(voting.pairs(evaluation), pk=again)
    return voting.next_row(evaluation, access.user, _number(request.GET.get("skip")) or None)


def _number(text: str | None) -> int:
    return parse_whole_number(text, GREATEST) or 0


def _blind(row: ComparedRow, user: User) -> list[str]:
    base, tuned = row.base[0]["completion"], row.tuned[0]["completion"]
    return [tuned, base] if voting.tuned_is_left(row, user) else [base, tuned]


@member()
@require_GET
def csv(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """Every answer of the chosen comparison on the rows that the address asks for."""
    evaluation = _wanted(request, access, uid)
    headers = _download(evaluation, "csv")
    lines = stream_lazily(format_csv(presenters.table(presenters.selected(evaluation, request.GET))))
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


@member()
@require_GET
def numbers(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Every number of the chosen comparison."""
    evaluation = _wanted(request, access, uid)
    content = comparison_report.exported(evaluation, presenters.confidence(evaluation.job))
    return JsonResponse(content, json_dumps_params={"indent": 2}, headers=_download(evaluation, "json"))


def _votes(evaluation: Evaluation, access: Access) -> dict[str, Any]:
    """What people said; whoever may vote is told after having voted."""
    mine = voting.votes_on(evaluation).filter(user=access.user).exists()
    told = mine or not access.can_edit
    return {"votes": voting.results(evaluation) if told else None, "may_vote": access.can_edit, "voted": mine}


def _wanted(request: HttpRequest, access: Access, uid: str) -> Evaluation:
    job = access.get(Job.objects.all(), uid=uid)
    evaluation = presenters.chosen(list(presenters.comparisons(job)), request.GET.get("evaluation", ""))
    if evaluation is None:
        raise Http404("This job has no comparison yet; it is made once training has ended.")
    return evaluation


def _download(evaluation: Evaluation, kind: str) -> dict[str, str]:
    name = f"{evaluation.job.uid}-{evaluation.stage}-step-{evaluation.step}.{kind}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}
