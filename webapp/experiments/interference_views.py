"""The page about the interference of tasks that share an adapter."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from webapp.experiments import interference
from webapp.jobs.errors import SettingsInvalid, WrongState
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The matrix of rewards together minus alone. A POST launches the jobs that measure it."""
    job = access.get(Job.objects.with_cursor().select_related("team", "base_model"), uid=uid)
    if request.method == "POST":
        access.require(Role.EDITOR)
        _launch(request, access, job)
        return redirect("experiments:interference", access.team.slug, job.uid)
    several = job.tasks.count() > 1
    parts = interference.list_parts(job)
    context = {
        "job": job,
        "parts": parts,
        "measured": [job, *parts],
        "changing": any(part.live for part in parts),
        "several": several,
        "done": job.state == State.SUCCEEDED,
        "alone": len(interference.find_missing_subsets(job, pairs=False)),
        "with_pairs": len(interference.find_missing_subsets(job, pairs=True)),
        "matrix": interference.build_matrix(job) if several and parts else None,
    }
    return render(request, "jobs/interference.html", context)


def _launch(request: HttpRequest, access: Access, job: Job) -> None:
    try:
        launched = interference.launch_interference(job, access.user, pairs=request.POST.get("pairs") == "1")
    except (WrongState, SettingsInvalid) as error:
        messages.error(request, str(error))
        return
    text = f"Launched {len(launched)} jobs." if launched else "All of these jobs exist already."
    messages.success(request, text)
