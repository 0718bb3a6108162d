"""Views of retention: a job's suites and gate, and the release of a model."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.evaluations.presenters import read_confidence
from webapp.jobs.models import Job
from webapp.registry.models import TunedModel
from webapp.retention import gate, presenters, services
from webapp.retention.forms import ReleaseForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role


def _list_jobs() -> QuerySet[Job]:
    return (
        Job.objects.with_cursor()
        .select_related("team", "tuned_model__team", "tuned_model__release__released_by")
        .prefetch_related(
            "suites__dataset_version__dataset", "suites__grader_version__grader", "suite_scores"
        )
    )


@member()
@require_GET
def retention(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show each suite before and after training, the plane and the gate; ``?suite=`` selects a suite."""
    job = access.get(_list_jobs(), uid=uid)
    result = gate.check_job(job)
    scores = presenters.find_latest_scores(list(job.suite_scores.all()))
    names = [verdict.suite.name for verdict in result.verdicts]
    wanted = request.GET.get("suite", "")
    points = presenters.build_plane(job, wanted if wanted in names else presenters.WORST)
    context = {
        "job": job,
        "gate": result,
        "rows": [(verdict, scores.get(verdict.suite.name)) for verdict in result.verdicts],
        "own": scores.get(""),
        "names": names,
        "wanted": wanted if wanted in names else "",
        "points": points,
        "drawn_json": presenters.build_plane_json(points),
        "confidence": read_confidence(job),
    }
    return render(request, "retention/page.html", context)


@member(Role.OWNER)
@require_POST
def release(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Mark a held-back model as ready, with a reason."""
    model = access.get(TunedModel.objects.alive().select_related("team", "job"), uid=uid)
    form = ReleaseForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Not released. Enter the reason.")
        return redirect(model)
    try:
        services.release_model(model, access.user, form.cleaned_data["reason"])
    except services.NotHeldBack as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Marked as ready. The reason is on the model's page and in the audit log.")
    return redirect(model)
