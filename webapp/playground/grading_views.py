"""Views of verdicts: a grader's reward for an answer to a dataset's row, from a worker's sandbox."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from webapp.graders.models import Grader, GraderTrial
from webapp.graders.services import create_trial
from webapp.playground.forms import VerdictForm
from webapp.playground.rows import find_row
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.work import nodes


@member(Role.EDITOR)
@require_POST
def grade(request: HttpRequest, access: Access) -> HttpResponse:
    """Let a worker grade the answer, and show the verdict's fragment."""
    form = VerdictForm(request.POST)
    if not form.is_valid():
        raise Http404
    data = form.cleaned_data
    prompt = find_row(access.team, data["dataset"], data["split"], data["row"])
    grader = access.get(Grader.objects.alive(), uid=data["grader"])
    version = grader.versions.first()
    if prompt.row is None or version is None:
        raise Http404
    choices = {"answers": ["typed"], "answer": data["answer"], "split": prompt.split}
    trial = create_trial(
        access.team, access.user, version.definition, [prompt.row], choices,
        grader=grader, dataset_version=prompt.version,
    )  # fmt: skip
    return _show(request, trial)


@member()
@require_GET
def show_verdict(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show the verdict, or that it is pending."""
    return _show(request, access.get(GraderTrial.objects.select_related("team"), uid=uid))


def _show(request: HttpRequest, trial: GraderTrial) -> HttpResponse:
    context = {
        "trial": trial,
        "result": trial.results[0] if trial.results else None,
        "worker_online": nodes.find_online().exists(),
    }
    return render(request, "playground/verdict.html", context)
