"""Views of a job's comparison: base and tuned model on rows that training never saw."""

from __future__ import annotations

from collections.abc import Sequence
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
from webapp.evaluations import comparison_report, episodes, presenters, services, voting
from webapp.evaluations.models import Note
from webapp.evaluations.row_outcomes import build_outcomes
from webapp.jobs.models import ComparedRow, Evaluation, Job
from webapp.teams.access import Access, member
from webapp.teams.models import Role, User
from workers.contract.environments import EpisodeRecord

ROWS_A_PAGE, LINES_A_PAGE = 10, 50
RELATED = ("team", "tuned_model", "dataset_version", "grader_version__grader")


@member()
@require_GET
def compare(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show the statistics, then the completions of both models row by row, or as a table.

    While the job runs, htmx asks for comparisons that are newer than the page.
    """
    jobs = Job.objects.with_cursor().select_related(*RELATED)
    job = access.get(jobs, uid=uid)
    evaluations = list(presenters.list_comparisons(job))
    evaluation = presenters.select_comparison(evaluations, request.GET.get("evaluation", ""))
    context: dict[str, object] = {"job": job, "evaluations": evaluations, "evaluation": evaluation}
    if request.htmx.target == "comparisons":
        context["arrived"] = presenters.find_newer(evaluations, request.GET.get("seen", ""))
        return render(request, "evaluations/comparisons.html", context)
    if job.live:
        context |= {"seen": max((each.pk for each in evaluations), default=0)}
    if evaluation:
        context |= _build_comparison_context(request, access, evaluation)
    return render(request, "evaluations/compare.html", context)


def _build_comparison_context(
    request: HttpRequest, access: Access, evaluation: Evaluation
) -> dict[str, object]:
    """Return the statistics of a comparison, and the rows that the query string asks for."""
    job, query = evaluation.job, presenters.read_row_query(request.GET)
    rows, table = presenters.select_rows(evaluation, query), request.GET.get("view") == "table"
    level = presenters.read_confidence(job)
    size = LINES_A_PAGE if table else ROWS_A_PAGE
    page = Paginator(rows, size).get_page(request.GET.get("page"))
    references = presenters.build_references(job, page)
    return {
        "confidence": level,
        "outcomes": build_outcomes(evaluation, level),
        "verdict": comparison_report.build_verdict(evaluation, level),
        **comparison_report.build_context(evaluation),
        "figure": presenters.build_figure(evaluation),
        "pass_at": presenters.list_pass_at_k(evaluation),
        "shows": [(key, label) for key, (label, _) in presenters.SHOWS.items()],
        "sorts": presenters.SORTS.items(),
        "query": query,
        "query_string": urlencode({"evaluation": evaluation.pk} | query),
        "tasks": [task.name for task in job.loaded_tasks],
        **_build_votes_context(evaluation, access),
        "longest": Note.LONGEST,
        "back": request.GET.urlencode(),
        "table": table,
        **presenters.build_marks_context(request.GET.get("marks", ""), references),
        "judged_rows": presenters.find_judged_rows(job, page),
        **_build_episodes_context(request, evaluation, list(page) if "row" in query else []),
        "fold": "row" not in query and query.get("show") != "tie",
        "page": page,
    }


def _build_episodes_context(
    request: HttpRequest, evaluation: Evaluation, rows: Sequence[ComparedRow]
) -> dict[str, object]:
    """Return the counts of episodes, and a pair of them if the page shows a single row."""
    pairs = evaluation.episodes
    if pairs is None:
        return {}
    return {
        "ends": episodes.list_ends(pairs),
        "parting": episodes.describe_parting(pairs),
        "pair": episodes.select_pair(rows[0], request.GET.get("pair", "")) if rows else None,
    }


@member(Role.EDITOR)
def vote(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show two completions without their models, and store a vote; ``?row=`` shows a row again."""
    evaluation = _find_comparison(request, access, uid)
    rows = voting.list_votable_rows(evaluation)
    if request.method == "POST" and request.POST.get("side") in voting.SIDES:
        voted = get_object_or_404(rows, pk=_read_key(request.POST.get("row")))
        if not voting.are_sides_valid(voted, access.user, request.POST.get("shown", "")):
            messages.error(request, "This page was out of date, so your vote was not counted. Vote again.")
            return redirect(f"{request.path}?evaluation={evaluation.pk}&row={voted.pk}")
        voting.save_vote(voted, access.user, request.POST["side"])
        return redirect(f"{request.path}?evaluation={evaluation.pk}&last={voted.pk}")
    row = _find_row(request, access, evaluation)
    own_vote = row and row.votes.filter(user=access.user).select_related("user").first()
    context: dict[str, object] = {
        "job": evaluation.job,
        "evaluation": evaluation,
        "row": row,
        "shown": voting.sign_sides(row, access.user) if row else "",
        "answers": _list_completions(row, access.user) if row else [],
        "given": voting.find_side(own_vote, row) if own_vote and row else "",
        "all": rows.count(),
        "mine": voting.list_votes(evaluation).filter(user=access.user).count(),
        "last": _read_key(request.GET.get("last")),
    }
    return render(request, "evaluations/vote.html", context)


@member(Role.EDITOR)
@require_POST
def note(request: HtmxRequest, access: Access, uid: str, row: int) -> HttpResponse:
    """Save the member's note on a row; an empty text deletes it."""
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


def _find_row(request: HttpRequest, access: Access, evaluation: Evaluation) -> ComparedRow | None:
    if again := _read_key(request.GET.get("row")):
        return get_object_or_404(voting.list_votable_rows(evaluation), pk=again)
    return voting.find_next_row(evaluation, access.user, _read_key(request.GET.get("skip")) or None)


def _read_key(text: str | None) -> int:
    return parse_whole_number(text, GREATEST) or 0


def _list_completions(row: ComparedRow, user: User) -> list[tuple[str, EpisodeRecord | None]]:
    """Return the two completions, left and right, each with its episode if it has several turns."""
    base_episode, tuned_episode = row.episodes.first or (None, None) if row.episodes else (None, None)
    base, tuned = (row.base[0]["completion"], base_episode), (row.tuned[0]["completion"], tuned_episode)
    return [tuned, base] if voting.tuned_is_left(row, user) else [base, tuned]


@member()
@require_GET
def csv(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """Download every completion to the rows that the query string selects."""
    evaluation = _find_comparison(request, access, uid)
    headers = _build_download_header(evaluation, "csv")
    lines = stream_lazily(format_csv(presenters.build_table(presenters.select_rows(evaluation, request.GET))))
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


@member()
@require_GET
def numbers(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Download every number of the comparison as JSON."""
    evaluation = _find_comparison(request, access, uid)
    content = comparison_report.export_numbers(evaluation, presenters.read_confidence(evaluation.job))
    headers = _build_download_header(evaluation, "json")
    return JsonResponse(content, json_dumps_params={"indent": 2}, headers=headers)


def _build_votes_context(evaluation: Evaluation, access: Access) -> dict[str, object]:
    """Return the results of votes. Members who may vote see them after their own vote."""
    voted = voting.list_votes(evaluation).filter(user=access.user).exists()
    visible = voted or not access.can_edit
    results = voting.count_votes(evaluation) if visible else None
    return {"votes": results, "may_vote": access.can_edit, "voted": voted}


def _find_comparison(request: HttpRequest, access: Access, uid: str) -> Evaluation:
    job = access.get(Job.objects.all(), uid=uid)
    evaluations = list(presenters.list_comparisons(job))
    evaluation = presenters.select_comparison(evaluations, request.GET.get("evaluation", ""))
    if evaluation is None:
        raise Http404("This job has no comparison yet. It is made when training ends.")
    return evaluation


def _build_download_header(evaluation: Evaluation, kind: str) -> dict[str, str]:
    name = f"{evaluation.job.uid}-{evaluation.stage}-step-{evaluation.step}.{kind}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}
