"""Views of trials: a worker grades answers with the text in the editor; a page shows the results."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.core.http import HtmxRequest
from webapp.graders import bench, services
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.trials import presenters, trial_context
from webapp.graders.trials.trial_forms import TrialForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member(Role.EDITOR)
@require_POST
def try_grader(request: HtmxRequest, access: Access) -> HttpResponse:
    """Enqueue a trial of the text in the editor."""
    uid = request.POST.get("grader")
    grader = access.get(bench.list_graders().alive(), uid=uid) if uid else None
    edited = bench.find_edited_version(grader, request.POST) if grader else None
    form = trial_context.build_form(access, grader, edited, data=request.POST)
    rows = form.rows() if form.is_valid() else []
    if form.is_valid() and not rows:
        form.add_error("pick", "No row of this split matches.")
    if form.errors:
        return _show_errors(request, access, grader, form)
    data = form.cleaned_data
    trial = services.create_trial(
        access.team, access.user, data["parsed"], rows, form.choices(), grader=grader,
        dataset_version=data["version"], second=data["second"],
        base_model=data["base_model"] if "base_model" in data["answers"] else None,
    )  # fmt: skip
    return _show_trial(request, trial)


def _show_errors(
    request: HtmxRequest, access: Access, grader: Grader | None, form: TrialForm
) -> HttpResponse:
    """Show the errors next to the button; earlier results stay on the page."""
    if grader and not request.htmx:
        return bench.render_page(request, access, grader, form=form, trial_form=form)
    response = render(request, "graders/refused.html", {"trial_form": form})
    response["HX-Retarget"], response["HX-Reswap"] = "#refused", "outerHTML"
    return response


def _show_trial(request: HtmxRequest, trial: GraderTrial) -> HttpResponse:
    home = presenters.build_trial_url(trial)
    if not request.htmx:
        return redirect(f"{home}#results-title")
    context = trial_context.build_context(request, trial)
    context |= bench.build_trials_context(trial.grader, trial) if trial.grader else {}
    response = render(request, "graders/started.html", context)
    response["HX-Push-Url"], response["HX-Trigger-After-Swap"] = home, "trial"
    return response


@member()
@require_GET
def trial(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show a trial's results. htmx reloads them while it runs, and when a filter changes."""
    related = ("team", "grader__team", "second__grader", "dataset_version__dataset", "base_model")
    trials = GraderTrial.objects.select_related(*related).defer("dataset_version__report")
    found = access.get(trials, uid=uid)
    part = "#results" if request.htmx else ""
    if found.grader and not part:
        return redirect(presenters.build_bench_url(found.grader, request.GET.dict() | {"trial": found.uid}))
    return render(request, f"graders/trial.html{part}", trial_context.build_context(request, found))


@member()
@require_GET
def fields(request: HtmxRequest, access: Access) -> HttpResponse:
    """List the names of a dataset version's fields, as suggestions on the bench."""
    names = trial_context.list_field_names(access, request.GET.get("version", ""))
    return render(request, "graders/fields.html", {"field_names": names})
