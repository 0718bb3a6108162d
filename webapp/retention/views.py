"""What a job's model still does, and the word of the gate."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.evaluations.presenters import confidence
from webapp.jobs.models import Job
from webapp.registry.models import TunedModel
from webapp.retention import gate, presenters, services
from webapp.retention.forms import ReleaseForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role


def _jobs() -> QuerySet[Job]:
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
    """Each suite before and after, the plane, and the gate; ``?suite=`` draws one suite."""
    job = access.get(_jobs(), uid=uid)
    word = gate.of_job(job)
    scores = presenters.latest(list(job.suite_scores.all()))
    names = [verdict.suite.name for verdict in word.verdicts]
    wanted = request.GET.get("suite", "")
    points = presenters.plane(job, wanted if wanted in names else presenters.WORST)
    context = {
        "job": job,
        "gate": word,
        "rows": [(verdict, scores.get(verdict.suite.name)) for verdict in word.verdicts],
        "own": scores.get(""),
        "names": names,
        "wanted": wanted if wanted in names else "",
        "points": points,
        "drawn_json": presenters.drawn(points),
        "confidence": confidence(job),
    }
    return render(request, "retention/page.html", context)


@member(Role.OWNER)
@require_POST
def release(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """An owner marks a held-back model as ready; the reason is kept."""
    model = access.get(TunedModel.objects.select_related("team", "job"), uid=uid, deleted_at=None)
    form = ReleaseForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Not released: say why the model is ready all the same.")
        return redirect(model)
    try:
        services.release_model(model, access.user, form.cleaned_data["reason"])
    except services.NotHeldBack as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Marked as ready. The reason stands beside it and in the audit log.")
    return redirect(model)
