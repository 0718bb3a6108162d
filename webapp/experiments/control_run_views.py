"""The page that compares an RFT job with its SFT and placebo control runs."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from webapp.experiments import control_run_results, control_runs
from webapp.experiments.control_run_form import SftForm
from webapp.jobs.errors import SettingsInvalid, WrongState
from webapp.jobs.models import Job
from webapp.jobs.monitor.job_views import all_jobs
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The results of the job and its control runs. A POST launches a control run."""
    job = access.get(all_jobs(), uid=uid)
    form = SftForm()
    if request.method == "POST":
        access.require(Role.EDITOR)
        form = SftForm(request.POST) if request.POST.get("method") == "sft" else form
        if not form.is_bound or form.is_valid():
            _launch(request, access, job, form)
            return redirect("experiments:control_runs", access.team.slug, job.uid)
    root = control_runs.find_root(job)
    results = control_run_results.build_results(root)
    context = {
        "job": job,
        "root": root,
        "form": form,
        "refusal": control_runs.explain_refusal(job),
        "placebo": control_runs.has_control_run(root, "placebo"),
        "results": results,
        "changing": results is not None and any(each.live for each in results.jobs),
    }
    return render(request, "experiments/control_runs.html", context, status=422 if form.errors else 200)


def _launch(request: HttpRequest, access: Access, job: Job, form: SftForm) -> None:
    method, source = ("sft", form.read_source()) if form.is_bound else ("placebo", None)
    try:
        run = control_runs.launch_control_run(job, access.user, method, source)
    except (WrongState, SettingsInvalid) as error:
        messages.error(request, str(error))
        return
    messages.success(request, f"Launched “{run.name}”.")
