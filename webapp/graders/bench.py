"""The bench: where a grader is written and saved; its trials and known answers have modules of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from webapp.core.input_checks import whole_number
from webapp.endpoints import services as endpoints
from webapp.graders import services
from webapp.graders.forms import CheckingForm, DefinitionForm, KnownAnswerForm, SaveForm
from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.graders.trials import presenters, trial_context
from webapp.graders.trials.trial_forms import TrialForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.work import nodes
from workers import grading

RECENT_TRIALS = 8
Json = dict[str, Any]


def graders() -> Any:
    """Graders with what the bench says of them."""
    return Grader.objects.select_related("team", "dataset")


def initial(definition: Json, *, as_json: bool = False) -> dict[str, str]:
    """The definition as an editor shows it: Python as source, everything else as JSON."""
    if definition["type"] == "python" and not as_json:
        return {"source": definition["source"]}
    return {"definition": json.dumps(definition, indent=2, ensure_ascii=False)}


@member()
@require_http_methods(["GET", "POST"])
def detail(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The bench. A POST saves a version; results stay on the page. htmx asks for the recent trials again."""
    grader = access.get(graders(), uid=uid)
    if request.method == "POST":
        access.require(Role.EDITOR)
        return _save(request, access, grader)
    if request.htmx.target == "recent-trials":  # type: ignore[attr-defined]
        return render(request, "graders/trials.html", trials_context(grader, _trial_in(request, grader)))
    return page(request, access, grader)


def _save(request: HttpRequest, access: Access, grader: Grader) -> HttpResponse:
    form = SaveForm(request.POST, grader=grader, latest=edited(grader, request.POST).definition)
    if not form.is_valid():
        return page(request, access, grader, form=form)
    data = form.cleaned_data
    version, is_new = services.add_version(grader, access.user, data["parsed"], data["note"])
    said = "Saved as version" if is_new else "Nothing changed since version"
    messages.success(request, f"{said} {version.number}.")
    return redirect(presenters.address(grader, request.GET))


def latest_of(grader: Grader) -> GraderVersion:
    """The newest version, with its check."""
    versions = grader.versions.select_related("grader__team", "check_run").prefetch_related("grader__tests")
    latest = versions.first()
    assert latest is not None, f"{grader} has no version"
    return latest


def edited(grader: Grader, query: Mapping[str, str]) -> GraderVersion:
    """The version that the editor starts from: the newest, or the one that ``?from=`` names."""
    number = whole_number(query.get("from"))
    if number is not None:
        return get_object_or_404(grader.versions, number=number)
    return latest_of(grader)


def page(
    request: HttpRequest, access: Access, grader: Grader, *,
    form: DefinitionForm | None = None, trial_form: TrialForm | None = None,
) -> HttpResponse:  # fmt: skip
    """The bench, also with forms that were refused."""
    latest, trial = latest_of(grader), _trial_in(request, grader)
    trial_form = trial_form or trial_context.form(access, grader, latest, trial)
    context = {
        "grader": grader,
        "trial_form": trial_form,
        "field_names": trial_form.field_names,
        "checking_form": checking_form(access, grader),
        "known_form": KnownAnswerForm(),
        "grader_kinds": {name: kind.describe_form() for name, kind in grading.KINDS.items()},
        "worker_online": nodes.online().exists(),
    }
    context |= _editor(request, grader, latest, trial, form) | check_context(latest)
    context |= versions_context(grader, latest)
    context |= trials_context(grader, trial)
    context |= trial_context.context(request, trial) if trial else {}
    refused = (form and form.errors) or trial_form.errors
    return render(request, "graders/detail.html", context, status=422 if refused else 200)


def _editor(
    request: HttpRequest, grader: Grader, latest: GraderVersion,
    trial: GraderTrial | None, form: DefinitionForm | None,
) -> Json:  # fmt: skip
    """The text that is edited, and what it is: a version's, or one that was tried and not saved."""
    query = request.POST if form else request.GET
    start = edited(grader, query) if query.get("from") else latest
    draft = bool(trial and start == latest and _is_draft(trial, latest))
    definition = trial.definition if trial and draft else start.definition
    as_json = request.GET.get("as") == "json" or start.definition["type"] != "python"
    form = form or SaveForm(grader=grader, initial=initial(definition, as_json=as_json))
    return {
        "start": start,
        "draft": draft,
        "unsaved": draft or start != latest or form.is_bound,
        "form": form,
        "python": form.is_source,
    }


def _trial_in(request: HttpRequest, grader: Grader) -> GraderTrial | None:
    """The trial that the address names. Raises Http404 for one of another grader."""
    uid = request.GET.get("trial")
    related = ("second__grader", "dataset_version__dataset", "base_model")
    trials = grader.trials.select_related(*related).defer("dataset_version__report")
    return get_object_or_404(trials, uid=uid) if uid else None


def trials_context(grader: Grader, trial: GraderTrial | None) -> Json:
    """What ``graders/trials.html`` shows; ``trials_pending`` while a worker has yet to finish one of them."""
    trials = grader.trials.select_related("dataset_version__dataset")
    heavy = ("rows", "results", "definition", "dataset_version__report")
    recent = list(trials.defer(*heavy)[:RECENT_TRIALS])
    return {
        "trial": trial,
        "recent": recent,
        "trials_pending": any(each.pending for each in recent),
        "trials_url": presenters.address(grader, {"trial": trial.uid if trial else ""}),
    }


def _is_draft(trial: GraderTrial, latest: GraderVersion) -> bool:
    """Whether the trial's text was never saved: the editor shows it again, so that a reload loses nothing."""
    newer = trial.created_at > latest.created_at
    return newer and services.sha256_of(trial.definition) != latest.sha256


def versions_context(grader: Grader, latest: GraderVersion) -> Json:
    """What ``graders/versions.html`` shows; ``checking`` while a worker checks one of them."""
    versions = list(grader.versions.select_related("check_run", "created_by").defer("definition"))
    checks = (getattr(version, "check_run", None) for version in versions)
    return {
        "versions": versions,
        "latest": latest,
        "checking": any(check is not None and check.pending for check in checks),
    }


def check_context(version: GraderVersion) -> Json:
    """What ``graders/check.html`` and ``graders/found.html`` show."""
    check = getattr(version, "check_run", None)
    seen: Json = check.results.get("tests", {}) if check else {}
    tests = list(version.grader.tests.all())
    asked, team = grading.judge_models(version.parsed), version.grader.team
    return {
        "version": version,
        "check": check,
        "known": [(test, seen.get(test.uid)) for test in tests],
        "unmet": services.unmet_by(version, tests, check),
        "judges": asked,
        "unconnected": endpoints.missing_endpoints(team, version.parsed) if asked else [],
    }


def checking_form(access: Access, grader: Grader, data: Any = None) -> CheckingForm:
    """How the grader is checked, to be changed."""
    names = ("dataset", "reference_field", "full_answer", "cheat_threshold")
    values = {name: getattr(grader, name) for name in names}
    return CheckingForm(data, datasets=access.team.datasets.filter(deleted_at=None), initial=values)


def text_of(version: GraderVersion) -> str:
    """The version's text as its editor shows it."""
    return next(iter(initial(version.definition).values()))
