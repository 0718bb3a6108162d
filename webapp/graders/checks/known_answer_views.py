"""Views of known answers: save one from a trial or a form, delete one, set how versions are checked."""

from __future__ import annotations

import json

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from webapp.core.http import HtmxRequest
from webapp.core.input_checks import parse_whole_number
from webapp.graders import bench, services
from webapp.graders.forms import KnownAnswerForm
from webapp.graders.models import GraderTest, GraderTrial
from webapp.graders.rows import GradedAnswer
from webapp.graders.trials import presenters
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member(Role.EDITOR)
@require_POST
def keep(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Save an answer of a trial as known good or bad."""
    grader = access.get(bench.list_graders().alive(), uid=uid)
    trial = get_object_or_404(grader.trials, uid=request.POST.get("trial"))
    result = _find_result(trial, request.POST.get("index", ""))
    kind = request.POST.get("kind", "")
    if kind not in GraderTest.Kind.values:
        raise Http404("There is no such kind of known answer.")
    try:
        test = services.keep_answer(grader, access.user, trial.rows[result["row"]], result["answer"], kind)
    except services.TooManyTests as error:
        return _report_error(request, trial, str(error))
    return _confirm(request, access, trial, test)


def _report_error(request: HtmxRequest, trial: GraderTrial, reason: str) -> HttpResponse:
    """Show the reason as a toast; the card keeps its buttons."""
    if not request.htmx:
        messages.error(request, reason)
        return redirect(presenters.build_trial_url(trial))
    toast = {"toast": {"text": reason, "kind": "error"}}
    return HttpResponse(headers={"HX-Reswap": "none", "HX-Trigger": json.dumps(toast)})


def _confirm(request: HtmxRequest, access: Access, trial: GraderTrial, test: GraderTest) -> HttpResponse:
    if not request.htmx:
        messages.success(request, f"Saved as known {test.kind}.")
        return redirect(presenters.build_trial_url(trial))
    latest = bench.find_latest_version(test.grader)
    context = {"test": test, "grader": test.grader, "access": access, "latest": latest}
    return render(request, "graders/kept.html", context | bench.build_check_context(latest))


def _find_result(trial: GraderTrial, index: str) -> GradedAnswer:
    number = parse_whole_number(index)
    if number is None or number >= len(trial.results):
        raise Http404("There is no such result.")
    result: GradedAnswer = trial.results[number]
    return result


@member(Role.EDITOR)
@require_POST
def add_known(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Add a known answer from the form."""
    grader = access.get(bench.list_graders().alive(), uid=uid)
    form = KnownAnswerForm(request.POST)
    data = form.cleaned_data if form.is_valid() else {}
    try:
        if data:
            services.keep_answer(
                grader, access.user, data["row"], data["answer"], data["kind"],
                limit=data["limit"], note=data["note"],
            )  # fmt: skip
            messages.success(request, f"Saved as known {data['kind']}.")
    except services.TooManyTests as error:
        messages.error(request, str(error))
    if form.errors:
        return render(request, "graders/known.html", {"grader": grader, "form": form}, status=422)
    return redirect(presenters.build_bench_url(grader, request.GET))


@member(Role.EDITOR)
@require_POST
def delete_test(request: HtmxRequest, access: Access, uid: str, test: str) -> HttpResponse:
    """Delete a known answer."""
    grader = access.get(bench.list_graders().alive(), uid=uid)
    services.delete_test(get_object_or_404(grader.tests, uid=test), access.user)
    messages.success(request, "The known answer was deleted. The newest version is being checked again.")
    return redirect(presenters.build_bench_url(grader, request.GET))


@member(Role.EDITOR)
@require_POST
def checking(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Set how versions are checked."""
    grader = access.get(bench.list_graders().alive(), uid=uid)
    form = bench.build_checking_form(access, grader, request.POST)
    if form.is_valid():
        services.set_checking(grader, access.user, **form.cleaned_data)
        messages.success(request, "Saved. The newest version is being checked again.")
    else:
        errors = [f"{form[name].label}: {each}" for name, found in form.errors.items() for each in found]
        messages.error(request, " ".join(errors))
    return redirect(presenters.build_bench_url(grader, request.GET))
