"""Pages of judges: endpoints, labelling, cards."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.calibration import services as calibration
from webapp.calibration.models import LabelTask
from webapp.core.http import HtmxRequest
from webapp.endpoints import services as endpoints
from webapp.endpoints.forms import EndpointForm
from webapp.endpoints.models import Endpoint
from webapp.evaluations import voting
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.judges import presenters
from webapp.judges.forms import LabelForm, PlaceForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.work import nodes


def _endpoints(access: Access) -> Any:
    return Endpoint.objects.filter(team=access.team, deleted_at=None).select_related(
        "base_model", "last_check"
    )


# --- endpoints -------------------------------------------------------------------------------------


@member()
@require_GET
def endpoint_list(request: HtmxRequest, access: Access) -> HttpResponse:
    """The team's judges; nobody ever sees a key."""
    connected = list(_endpoints(access))
    context = {
        "endpoints": presenters.with_uses(access.team, connected),
        "pending": endpoints.has_pending_check(connected),
        "worker_online": nodes.find_online().exists(),
    }
    page = "judges/list.html" + ("#endpoints" if request.htmx else "")
    return render(request, page, context)


@sensitive_variables()
@sensitive_post_parameters("api_key")
@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """Connect a judge. Only owners: an endpoint reaches whatever the workers reach."""
    initial = {"name": request.GET.get("name", "")}
    form = EndpointForm(request.POST or None, team=access.team, initial=initial)
    if request.method == "POST" and form.is_valid():
        endpoint = endpoints.connect_endpoint(access.team, access.user, **form.cleaned_data)
        endpoints.request_check(endpoint)
        messages.success(request, f"Connected “{endpoint}”. A worker asks it a first question now.")
        return redirect("judges:list", access.team.slug)
    return render(request, "judges/form.html", {"form": form}, status=422 if form.errors else 200)


@sensitive_variables()
@sensitive_post_parameters("api_key")
@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    endpoint = access.get(_endpoints(access), uid=uid)
    form = EndpointForm(
        request.POST or None, team=access.team, instance=access.get(_endpoints(access), uid=uid)
    )
    if request.method == "POST" and form.is_valid():
        endpoints.update_endpoint(endpoint, access.user, **form.cleaned_data)
        messages.success(request, f"Saved “{endpoint}”.")
        return redirect("judges:list", access.team.slug)
    context = {"form": form, "endpoint": endpoint}
    return render(request, "judges/form.html", context, status=422 if form.errors else 200)


@member(Role.EDITOR)
@require_POST
def check(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    endpoints.request_check(access.get(_endpoints(access), uid=uid))
    return redirect("judges:list", access.team.slug)


@member(Role.OWNER)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    endpoint = access.get(_endpoints(access), uid=uid)
    endpoints.delete_endpoint(endpoint, access.user)
    messages.success(request, f"Disconnected “{endpoint}” and forgot its key.")
    return redirect("judges:list", access.team.slug)


# --- labels ----------------------------------------------------------------------------------------


@member(Role.EDITOR)
@require_POST
def start_labelling(request: HttpRequest, access: Access, grader: str) -> HttpResponse:
    """Label the answers of one trial of this grader."""
    shown = access.get(Grader.objects.filter(deleted_at=None), uid=grader)
    finished = shown.trials.filter(state=GraderTrial.State.FINISHED)
    trial = get_object_or_404(finished, uid=request.POST.get("trial", ""))
    return redirect(calibration.create_label_task(shown, access.user, trial))


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def label(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """One answer at a time, without a word of the judge's. A POST labels it and shows the next."""
    task = access.get(LabelTask.objects.select_related("grader", "team"), uid=uid)
    if request.method == "POST":
        form = LabelForm(request.POST)
        if not form.is_valid() or form.cleaned_data["answer"] >= len(task.answers):
            return HttpResponse("There is no such answer or label.", status=422)
        return redirect(f"{task.get_absolute_url()}?at={_labelled(task, access, form.cleaned_data)}")
    wanted = PlaceForm(request.GET)
    at = wanted.cleaned_data["at"] if wanted.is_valid() else None
    context = presenters.labelling(task, at)
    page = "judges/label.html" + ("#labelling" if request.htmx else "")
    return render(request, page, context)


def _labelled(task: LabelTask, access: Access, data: dict[str, Any]) -> int:
    """Where to go on: at the next answer, or at the same one if it has a label that was not seen."""
    try:
        calibration.label(task, access.user, **data)
    except calibration.LabelledMeanwhile:
        return int(data["answer"])
    return int(data["answer"]) + 1


# --- cards -----------------------------------------------------------------------------------------


def _version(access: Access, uid: str) -> GraderVersion:
    versions = GraderVersion.objects.select_related("grader__team")
    return get_object_or_404(versions, uid=uid, grader__team=access.team)


@member()
@require_GET
def card(request: HtmxRequest, access: Access, version: str) -> HttpResponse:
    """How far the judge of a grader version agrees with the team's labels."""
    shown = _version(access, version)
    page = "judges/card.html" + ("#card" if request.htmx else "")
    return render(request, page, presenters.card_page(shown, voting.votes_told(access.user, access.can_edit)))


@member(Role.EDITOR)
@require_POST
def make_card(request: HttpRequest, access: Access, version: str) -> HttpResponse:
    shown = _version(access, version)
    try:
        calibration.create_card(shown, access.user)
    except calibration.TooFewLabels as error:
        messages.error(request, str(error))
    return redirect("judges:card", access.team.slug, shown.uid)
