"""Known answers: kept from results or typed, forgotten, and how versions are checked on them."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from webapp.core.http import HtmxRequest
from webapp.core.input_checks import parse_whole_number
from webapp.graders import bench, services
from webapp.graders.forms import KnownAnswerForm
from webapp.graders.models import Grader, GraderTest, GraderTrial
from webapp.graders.trials import presenters
from webapp.teams.access import Access, member
from webapp.teams.models import Role

Json = dict[str, Any]


@member(Role.EDITOR)
@require_POST
def keep(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Keep an answer of a trial as known good or bad."""
    grader = access.get(bench.graders().filter(deleted_at=None), uid=uid)
    trial = get_object_or_404(grader.trials, uid=request.POST.get("trial"))
    result = _result_at(trial, request.POST.get("index", ""))
    kind = request.POST.get("kind", "")
    if kind not in GraderTest.Kind.values:
        raise Http404("There is no such kind of known answer.")
    try:
        test = services.keep_answer(grader, access.user, trial.rows[result["row"]], result["answer"], kind)
    except services.TooManyTests as error:
        return _not_kept(request, trial, str(error))
    return _kept(request, access, trial, test)


def _not_kept(request: HtmxRequest, trial: GraderTrial, reason: str) -> HttpResponse:
    """The reason as a toast; the card keeps its buttons."""
    if not request.htmx:
        messages.error(request, reason)
        return redirect(presenters.home(trial))
    toast = {"toast": {"text": reason, "kind": "error"}}
    return HttpResponse(headers={"HX-Reswap": "none", "HX-Trigger": json.dumps(toast)})


def _kept(request: HtmxRequest, access: Access, trial: GraderTrial, test: GraderTest) -> HttpResponse:
    if not request.htmx:
        messages.success(request, f"Kept as known {test.kind}.")
        return redirect(presenters.home(trial))
    latest = bench.latest_of(test.grader)
    context = {"test": test, "grader": test.grader, "access": access, "latest": latest}
    return render(request, "graders/kept.html", context | bench.check_context(latest))


def _result_at(trial: GraderTrial, index: str) -> Json:
    number = parse_whole_number(index)
    if number is None or number >= len(trial.results):
        raise Http404("There is no such result.")
    result: Json = trial.results[number]
    return result


@member(Role.EDITOR)
@require_POST
def add_known(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Add a known answer by form."""
    grader = access.get(bench.graders().filter(deleted_at=None), uid=uid)
    form = KnownAnswerForm(request.POST)
    data = form.cleaned_data if form.is_valid() else {}
    try:
        if data:
            services.keep_answer(
                grader, access.user, data["row"], data["answer"], data["kind"],
                limit=data["limit"], note=data["note"],
            )  # fmt: skip
            messages.success(request, f"Kept as known {data['kind']}.")
    except services.TooManyTests as error:
        messages.error(request, str(error))
    if form.errors:
        return render(request, "graders/known.html", {"grader": grader, "form": form}, status=422)
    return redirect(presenters.address(grader, request.GET))


@member(Role.EDITOR)
@require_POST
def delete_test(request: HtmxRequest, access: Access, uid: str, test: str) -> HttpResponse:
    """Forget a known answer."""
    grader = access.get(bench.graders().filter(deleted_at=None), uid=uid)
    services.delete_test(get_object_or_404(grader.tests, uid=test), access.user)
    messages.success(request, "The known answer was deleted. The newest version is being checked again.")
    return redirect(presenters.address(grader, request.GET))


@member(Role.EDITOR)
@require_POST
def checking(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Change how versions are checked."""
    grader: Grader = access.get(bench.graders().filter(deleted_at=None), uid=uid)
    form = bench.checking_form(access, grader, request.POST)
    if form.is_valid():
        services.set_checking(grader, access.user, **form.cleaned_data)
        messages.success(request, "Saved. The newest version is being checked again.")
    else:
        said = [f"{form[name].label}: {error}" for name, errors in form.errors.items() for error in errors]
        messages.error(request, " ".join(said))
    return redirect(presenters.address(grader, request.GET))
