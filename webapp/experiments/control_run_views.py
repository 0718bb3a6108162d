"""The page that compares an RFT job with its control runs."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from webapp.experiments import control_run_results, control_runs
from webapp.experiments.control_run_form import SftForm
from webapp.jobs.errors import SettingsInvalid, WrongState
from webapp.jobs.models import Job
from webapp.jobs.monitor.job_views import all_jobs
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from workers.contract.methods import METHODS, Method


@dataclass(frozen=True)
class Offer:
    """A method whose control run can be launched. ``form`` is None if it has no settings of its own."""

    method: Method
    form: SftForm | None
    exists: bool


@member()
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The results of the job and its control runs. A POST launches a control run."""
    job = access.get(all_jobs(), uid=uid)
    method: Method | None = None
    form: SftForm | None = None
    if request.method == "POST":
        access.require(Role.EDITOR)
        method = _read_method(request)
        form = _build_form(method, request)
        if form is None or form.is_valid():
            _launch(request, access, job, method, form)
            return redirect("experiments:control_runs", access.team.slug, job.uid)
    root = control_runs.find_root(job)
    results = control_run_results.build_results(root)
    context = {
        "job": job,
        "root": root,
        "offers": [
            Offer(each, form if each == method else _build_form(each), _is_launched(root, each))
            for each in METHODS.values()
            if each.control_run
        ],
        "refusal": control_runs.explain_refusal(job),
        "results": results,
        "changing": results is not None and any(each.live for each in results.jobs),
    }
    return render(request, "experiments/control_runs.html", context, status=422 if form else 200)


def _read_method(request: HttpRequest) -> Method:
    method = METHODS.get(request.POST.get("method", ""))
    if method is None or method.control_run is None:
        raise Http404("There is no control run of this method.")
    return method


def _build_form(method: Method, request: HttpRequest | None = None) -> SftForm | None:
    if not method.needs_demonstrations:
        return None
    return SftForm(request.POST if request else None, auto_id=f"id_{method.id}_%s")


def _is_launched(root: Job, method: Method) -> bool:
    """True if no other run of the method can be launched. Those on demonstrations can, on others."""
    return not method.needs_demonstrations and control_runs.has_control_run(root, method.id)


def _launch(request: HttpRequest, access: Access, job: Job, method: Method, form: SftForm | None) -> None:
    source = form.read_source() if form else None
    try:
        run = control_runs.launch_control_run(job, access.user, method.id, source)
    except (WrongState, SettingsInvalid) as error:
        messages.error(request, str(error))
        return
    messages.success(request, f"Launched “{run.name}”.")
