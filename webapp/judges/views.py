"""Views of judges: endpoints, labelling, cards."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
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
from webapp.judges.forms import LabelForm, PositionForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.work import nodes


def _list_endpoints(access: Access) -> QuerySet[Endpoint]:
    return Endpoint.objects.alive().filter(team=access.team).select_related("base_model", "last_check")


# --- endpoints -------------------------------------------------------------------------------------


@member()
@require_GET
def endpoint_list(request: HtmxRequest, access: Access) -> HttpResponse:
    """List the team's judges, without their keys."""
    connected = list(_list_endpoints(access))
    context = {
        "endpoints": presenters.list_uses(access.team, connected),
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
    """Connect a judge. Owners only: an endpoint reaches every server that workers reach."""
    initial = {"name": request.GET.get("name", "")}
    form = EndpointForm(request.POST or None, team=access.team, initial=initial)
    if request.method == "POST" and form.is_valid():
        endpoint = endpoints.connect_endpoint(access.team, access.user, **form.cleaned_data)
        endpoints.request_check(endpoint)
        messages.success(request, f"Connected “{endpoint}”. A worker is testing it.")
        return redirect("judges:list", access.team.slug)
    return render(request, "judges/form.html", {"form": form}, status=422 if form.errors else 200)


@sensitive_variables()
@sensitive_post_parameters("api_key")
@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    endpoint = access.get(_list_endpoints(access), uid=uid)
    form = EndpointForm(
        request.POST or None, team=access.team, instance=access.get(_list_endpoints(access), uid=uid)
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
    endpoints.request_check(access.get(_list_endpoints(access), uid=uid))
    return redirect("judges:list", access.team.slug)


@member(Role.OWNER)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    endpoint = access.get(_list_endpoints(access), uid=uid)
    endpoints.delete_endpoint(endpoint, access.user)
    messages.success(request, f"Disconnected “{endpoint}” and deleted its key.")
    return redirect("judges:list", access.team.slug)


# --- labels ----------------------------------------------------------------------------------------


@member(Role.EDITOR)
@require_POST
def start_labelling(request: HttpRequest, access: Access, grader: str) -> HttpResponse:
    """Create a labelling task from one trial of this grader."""
    labelled = access.get(Grader.objects.alive(), uid=grader)
    finished = labelled.trials.filter(state=GraderTrial.State.FINISHED)
    trial = get_object_or_404(finished, uid=request.POST.get("trial", ""))
    return redirect(calibration.create_label_task(labelled, access.user, trial))


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def label(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show one answer at a time, without the judge's reward. A POST labels it and shows the next."""
    task = access.get(LabelTask.objects.select_related("grader", "team"), uid=uid)
    if request.method == "POST":
        form = LabelForm(request.POST)
        if not form.is_valid() or form.cleaned_data["answer"] >= len(task.answers):
            return HttpResponse("There is no such answer or label.", status=422)
        return redirect(f"{task.get_absolute_url()}?at={_save_label(task, access, form.cleaned_data)}")
    position = PositionForm(request.GET)
    index = position.cleaned_data["at"] if position.is_valid() else None
    context = presenters.build_labelling_context(task, index)
    page = "judges/label.html" + ("#labelling" if request.htmx else "")
    return render(request, page, context)


def _save_label(task: LabelTask, access: Access, data: dict[str, int]) -> int:
    """Return the index to show next: of the next answer, or of the same one if its label has changed."""
    try:
        calibration.label_answer(task, access.user, **data)
    except calibration.LabelledMeanwhile:
        return data["answer"]
    return data["answer"] + 1


# --- cards -----------------------------------------------------------------------------------------


def _find_version(access: Access, uid: str) -> GraderVersion:
    versions = GraderVersion.objects.select_related("grader__team")
    return get_object_or_404(versions, uid=uid, grader__team=access.team)


@member()
@require_GET
def card(request: HtmxRequest, access: Access, version: str) -> HttpResponse:
    """Show how far the judge of a grader version agrees with the team's labels."""
    grader_version = _find_version(access, version)
    page = "judges/card.html" + ("#card" if request.htmx else "")
    votes = voting.list_visible_votes(access.user, access.can_edit)
    return render(request, page, presenters.build_card_context(grader_version, votes))


@member(Role.EDITOR)
@require_POST
def make_card(request: HttpRequest, access: Access, version: str) -> HttpResponse:
    grader_version = _find_version(access, version)
    try:
        calibration.create_card(grader_version, access.user)
    except calibration.TooFewLabels as error:
        messages.error(request, str(error))
    return redirect("judges:card", access.team.slug, grader_version.uid)
