"""The bench: the page where a grader is edited and saved. Views of trials and known answers are apart."""

from __future__ import annotations

import json
from collections.abc import Mapping

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from webapp.core.http import HtmxRequest
from webapp.core.input_checks import parse_whole_number
from webapp.core.models import SoftDeletedQuerySet
from webapp.endpoints import services as endpoints
from webapp.graders import services
from webapp.graders.forms import CheckingForm, DefinitionForm, KnownAnswerForm, SaveForm
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.graders.rows import Grade
from webapp.graders.trials import presenters, trial_context
from webapp.graders.trials.trial_forms import TrialForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.work import nodes
from workers import grading
from workers.contract.json_types import JsonObject

RECENT_TRIALS = 8


def list_graders() -> SoftDeletedQuerySet[Grader]:
    """Return graders with the related objects that the bench shows."""
    return Grader.objects.select_related("team", "dataset")


def build_initial(definition: JsonObject, *, as_json: bool = False) -> dict[str, str]:
    """Return the editor's text by its form field: Python as source, everything else as JSON."""
    if definition["type"] == "python" and not as_json:
        return {"source": str(definition["source"])}
    return {"definition": json.dumps(definition, indent=2, ensure_ascii=False)}


@member()
@require_http_methods(["GET", "POST"])
def detail(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show the bench. A POST saves a version; results stay on the page. htmx reloads the recent trials."""
    grader = access.get(list_graders(), uid=uid)
    if request.method == "POST":
        access.require(Role.EDITOR)
        return _save(request, access, grader)
    if request.htmx.target == "recent-trials":
        context = build_trials_context(grader, _find_trial(request, grader))
        return render(request, "graders/trials.html", context)
    return render_page(request, access, grader)


def _save(request: HttpRequest, access: Access, grader: Grader) -> HttpResponse:
    form = SaveForm(request.POST, grader=grader, latest=find_edited_version(grader, request.POST).definition)
    if not form.is_valid():
        return render_page(request, access, grader, form=form)
    data = form.cleaned_data
    version, is_new = services.add_version(grader, access.user, data["parsed"], data["note"])
    result = "Saved as version" if is_new else "Nothing changed since version"
    messages.success(request, f"{result} {version.number}.")
    return redirect(presenters.build_bench_url(grader, request.GET))


def find_latest_version(grader: Grader) -> GraderVersion:
    """Return the newest version, with its check."""
    versions = grader.versions.select_related("grader__team", "check_run").prefetch_related("grader__tests")
    latest = versions.first()
    assert latest is not None, f"{grader} has no version"
    return latest


def find_edited_version(grader: Grader, query: Mapping[str, str]) -> GraderVersion:
    """Return the version that the editor starts from: the newest, or the one that ``?from=`` names."""
    number = parse_whole_number(query.get("from"))
    if number is not None:
        return get_object_or_404(grader.versions, number=number)
    return find_latest_version(grader)


def render_page(
    request: HttpRequest, access: Access, grader: Grader, *,
    form: DefinitionForm | None = None, trial_form: TrialForm | None = None,
) -> HttpResponse:  # fmt: skip
    """Render the bench, also with forms that have errors."""
    latest, trial = find_latest_version(grader), _find_trial(request, grader)
    trial_form = trial_form or trial_context.build_form(access, grader, latest, trial)
    context: dict[str, object] = {
        "grader": grader,
        "trial_form": trial_form,
        "field_names": trial_form.field_names,
        "checking_form": build_checking_form(access, grader),
        "known_form": KnownAnswerForm(),
        "grader_kinds": {name: kind.describe_form() for name, kind in grading.KINDS.items()},
        "worker_online": nodes.find_online().exists(),
    }
    context |= _build_editor_context(request, grader, latest, trial, form) | build_check_context(latest)
    context |= build_versions_context(grader, latest)
    context |= build_trials_context(grader, trial)
    context |= trial_context.build_context(request, trial) if trial else {}
    invalid = (form and form.errors) or trial_form.errors
    return render(request, "graders/detail.html", context, status=422 if invalid else 200)


def _build_editor_context(
    request: HttpRequest, grader: Grader, latest: GraderVersion,
    trial: GraderTrial | None, form: DefinitionForm | None,
) -> dict[str, object]:  # fmt: skip
    """Return the text to edit: of a version, or a draft that was tried and not saved."""
    query = request.POST if form else request.GET
    start = find_edited_version(grader, query) if query.get("from") else latest
    draft = bool(trial and start == latest and _is_draft(trial, latest))
    definition = trial.definition if trial and draft else start.definition
    as_json = request.GET.get("as") == "json" or start.definition["type"] != "python"
    form = form or SaveForm(grader=grader, initial=build_initial(definition, as_json=as_json))
    return {
        "start": start,
        "draft": draft,
        "unsaved": draft or start != latest or form.is_bound,
        "form": form,
        "python": form.is_source,
    }


def _find_trial(request: HttpRequest, grader: Grader) -> GraderTrial | None:
    """Return the trial that the query string names. Raises ``Http404`` for one of another grader."""
    uid = request.GET.get("trial")
    related = ("second__grader", "dataset_version__dataset", "base_model")
    trials = grader.trials.select_related(*related).defer("dataset_version__report")
    return get_object_or_404(trials, uid=uid) if uid else None


def build_trials_context(grader: Grader, trial: GraderTrial | None) -> dict[str, object]:
    """Return what ``graders/trials.html`` shows; ``trials_pending`` until workers have finished all."""
    trials = grader.trials.select_related("dataset_version__dataset")
    heavy = ("rows", "results", "definition", "dataset_version__report")
    recent = list(trials.defer(*heavy)[:RECENT_TRIALS])
    return {
        "trial": trial,
        "recent": recent,
        "trials_pending": any(each.pending for each in recent),
        "trials_url": presenters.build_bench_url(grader, {"trial": trial.uid if trial else ""}),
    }


def _is_draft(trial: GraderTrial, latest: GraderVersion) -> bool:
    """Return True if the trial's text was never saved. The editor shows it, so that a reload keeps it."""
    newer = trial.created_at > latest.created_at
    return newer and services.hash_definition(trial.definition) != latest.sha256


def build_versions_context(grader: Grader, latest: GraderVersion) -> dict[str, object]:
    """Return what ``graders/versions.html`` shows; ``checking`` while a worker checks one of them."""
    versions = list(grader.versions.select_related("check_run", "created_by").defer("definition"))
    checks = (getattr(version, "check_run", None) for version in versions)
    return {
        "versions": versions,
        "latest": latest,
        "checking": any(check is not None and check.pending for check in checks),
    }


def build_check_context(version: GraderVersion) -> dict[str, object]:
    """Return what ``graders/check.html`` and ``graders/found.html`` show."""
    check = getattr(version, "check_run", None)
    outcomes: dict[str, Grade] = check.results.get("tests", {}) if check else {}
    tests = list(version.grader.tests.all())
    judges, team = grading.judge_models(version.parsed), version.grader.team
    return {
        "version": version,
        "check": check,
        "known": [(test, outcomes.get(test.uid)) for test in tests],
        "unmet": services.list_unmet_tests(version, tests, check),
        "judges": judges,
        "unconnected": endpoints.list_missing_judges(team, version.parsed) if judges else [],
    }


def build_checking_form(access: Access, grader: Grader, data: QueryDict | None = None) -> CheckingForm:
    """Return the form that sets how the grader is checked."""
    names = ("dataset", "reference_field", "full_answer", "cheat_threshold")
    values = {name: getattr(grader, name) for name in names}
    return CheckingForm(data, datasets=access.team.datasets.alive(), initial=values)


def build_text(version: GraderVersion) -> str:
    """Return the version's text as the editor shows it."""
    return next(iter(build_initial(version.definition).values()))
