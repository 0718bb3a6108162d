"""The bench: where a grader is written, tried on rows, and told which answers are known to be good or bad."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.datasets.models import DatasetVersion
from webapp.jobs import nodes
from webapp.judges import services as judges
from webapp.registry.models import BaseModel
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from workers import grading

from . import choosing, presenters, services
from .forms import CheckingForm, DefinitionForm, KnownAnswerForm, TrialForm
from .models import Grader, GraderTest, GraderTrial, GraderVersion

RECENT_TRIALS = 8
KEPT_IN_URL = ("trial", "bin", "page")
Json = dict[str, Any]


def _graders() -> Any:
    return Grader.objects.select_related("team", "dataset")


def address(grader: Grader, query: Mapping[str, str]) -> str:
    """The bench with the trial and the filter that ``query`` names."""
    kept = {name: query[name] for name in KEPT_IN_URL if query.get(name)}
    return grader.get_absolute_url() + (f"?{urlencode(kept)}" if kept else "")


def initial(definition: Json, *, as_json: bool = False) -> dict[str, str]:
    """The definition as an editor shows it: Python as source, everything else as JSON."""
    if definition["type"] == "python" and not as_json:
        return {"source": definition["source"]}
    return {"definition": json.dumps(definition, indent=2, ensure_ascii=False)}


# --- the page --------------------------------------------------------------------------------------


@member()
def detail(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The bench. A POST saves a version; results stay on the page."""
    grader = access.get(_graders(), uid=uid)
    latest = _latest(grader)
    if request.method == "POST":
        access.require(Role.EDITOR)
        form = DefinitionForm(request.POST, latest=latest.definition)
        if form.is_valid():
            _save(request, access, grader, form)
            return redirect(address(grader, request.GET))
        return _page(request, access, grader, latest, form=form)
    return _page(request, access, grader, latest)


def _latest(grader: Grader) -> GraderVersion:
    versions = grader.versions.select_related("grader__team", "check_run").prefetch_related("grader__tests")
    latest = versions.first()
    assert latest is not None, f"{grader} has no version"
    return latest


def _save(request: HttpRequest, access: Access, grader: Grader, form: DefinitionForm) -> None:
    version, is_new = services.add_version(grader, access.user, form.cleaned_data["parsed"])
    said = "Saved as version" if is_new else "Nothing changed since version"
    messages.success(request, f"{said} {version.number}.")


def _page(
    request: HttpRequest, access: Access, grader: Grader, latest: GraderVersion, *,
    form: DefinitionForm | None = None, trial_form: TrialForm | None = None,
) -> HttpResponse:  # fmt: skip
    trial = _trial_in(request, grader)
    draft = bool(trial and _is_draft(trial, latest))
    shown = trial.definition if trial and draft else latest.definition
    form = form or DefinitionForm(initial=initial(shown, as_json=request.GET.get("as") == "json"))
    recent = grader.trials.select_related("dataset_version__dataset").defer("rows", "results", "definition")
    context = {
        "grader": grader,
        "latest": latest,
        "draft": draft,
        "form": form,
        "python": form.is_source,
        "trial_form": trial_form or _trial_form(access, grader, latest, trial),
        "checking_form": checking_form(access, grader),
        "known_form": KnownAnswerForm(),
        "versions": grader.versions.select_related("check_run").defer("definition"),
        "recent": recent[:RECENT_TRIALS],
        "worker_online": nodes.online().exists(),
    }
    context |= check_context(latest) | (_trial_context(request, trial) if trial else {})
    context |= _judges_context(latest)
    refused = form.errors or (trial_form and trial_form.errors)
    return render(request, "graders/detail.html", context, status=422 if refused else 200)


def _judges_context(version: GraderVersion) -> Json:
    """The judges that the version asks, those that nobody has connected, and whether a card is missing."""
    definition = grading.validate(version.definition)
    asked = grading.judge_models(definition)
    return {
        "judges": asked,
        "unconnected": judges.missing_endpoints(version.grader.team, definition) if asked else [],
        "uncalibrated": judges.is_uncalibrated(version),
    }


def _trial_in(request: HttpRequest, grader: Grader) -> GraderTrial | None:
    """The trial that the address names. Raises Http404 for one of another grader."""
    uid = request.GET.get("trial")
    return get_object_or_404(grader.trials.select_related("second__grader"), uid=uid) if uid else None


def _is_draft(trial: GraderTrial, latest: GraderVersion) -> bool:
    """Whether the trial's text was never saved: the editor shows it again, so that a reload loses nothing."""
    newer = trial.created_at > latest.created_at
    return newer and services.sha256_of(trial.definition) != latest.sha256


def check_context(version: GraderVersion) -> Json:
    """What ``graders/check.html`` shows."""
    check = getattr(version, "check_run", None)
    seen: Json = check.results.get("tests", {}) if check else {}
    tests = list(version.grader.tests.all())
    return {
        "version": version,
        "check": check,
        "known": [(test, seen.get(test.uid)) for test in tests],
        "unmet": services.unmet_by(version, tests, check),
    }


def checking_form(access: Access, grader: Grader, data: Any = None) -> CheckingForm:
    """How the grader is checked, to be changed."""
    values = {name: getattr(grader, name) for name in ("dataset", "reference_field", "cheat_threshold")}
    return CheckingForm(data, datasets=access.team.datasets.filter(deleted_at=None), initial=values)


# --- trials ----------------------------------------------------------------------------------------


def _trial_form(
    access: Access, grader: Grader | None, latest: GraderVersion | None,
    trial: GraderTrial | None = None, data: Any = None,
) -> TrialForm:  # fmt: skip
    versions = DatasetVersion.objects.filter(dataset__team=access.team, dataset__deleted_at=None).defer(
        "report"
    )
    second = GraderVersion.objects.filter(grader__team=access.team, grader__deleted_at=None)
    return TrialForm(
        data,
        versions=versions.select_related("dataset").order_by("-id"),
        base_models=BaseModel.objects.filter(Q(team=access.team) | Q(team=None)),
        graders=second.select_related("grader").order_by("-id"),
        latest=latest.definition if latest else None,
        initial=_choices(trial) if trial else _first_choices(grader, latest),
    )


def _choices(trial: GraderTrial) -> Json:
    chosen = {"version": trial.dataset_version_id, "second": trial.second_id}
    base = {"base_model": trial.base_model_id} if trial.base_model_id else {}
    return {**trial.choices, **chosen, **base}


def _first_choices(grader: Grader | None, latest: GraderVersion | None) -> Json:
    """The dataset that fits the grader, and its right answers."""
    version = choosing.dataset_version(grader, latest.definition) if grader and latest else None
    if not (grader and latest and version):
        return {}
    reference = choosing.reference_of(grader, latest.definition, version)
    return {"version": version.pk, "field": reference or "reference"}


@member(Role.EDITOR)
@require_POST
def try_grader(request: HttpRequest, access: Access) -> HttpResponse:
    """Have a worker grade answers with the text as it stands in the editor."""
    uid = request.POST.get("grader")
    grader = access.get(_graders(), uid=uid) if uid else None
    form = _trial_form(access, grader, _latest(grader) if grader else None, data=request.POST)
    rows = form.rows() if form.is_valid() else []
    if form.is_valid() and not rows:
        form.add_error("pick", "No row of this split is like that.")
    if form.errors:
        return _refused(request, access, grader, form)
    data = form.cleaned_data
    trial = services.create_trial(
        access.team, access.user, data["parsed"], rows, form.choices(), grader=grader,
        dataset_version=data["version"], second=data["second"],
        base_model=data["base_model"] if "base_model" in data["answers"] else None,
    )  # fmt: skip
    return _started(request, access, trial)


def _refused(request: HttpRequest, access: Access, grader: Grader | None, form: TrialForm) -> HttpResponse:
    if grader and not request.htmx:  # type: ignore[attr-defined]
        return _page(request, access, grader, _latest(grader), form=form, trial_form=form)
    return render(request, "graders/trial.html#refused", {"trial_form": form})


def _started(request: HttpRequest, access: Access, trial: GraderTrial) -> HttpResponse:
    home = _home(trial)
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect(home)
    response = render(request, "graders/trial.html#results", _trial_context(request, trial))
    response["HX-Push-Url"] = home
    return response


def _home(trial: GraderTrial) -> str:
    """Where the trial shows: on its grader's bench, or on a page of its own."""
    return address(trial.grader, {"trial": trial.uid}) if trial.grader else trial.get_absolute_url()


@member()
@require_GET
def trial(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """A trial's results; htmx asks again while it runs, and for what a filter leaves."""
    related = ("team", "grader__team", "second__grader", "dataset_version__dataset")
    shown = access.get(GraderTrial.objects.select_related(*related), uid=uid)
    part = "#results" if request.htmx else ""  # type: ignore[attr-defined]
    if shown.grader and not part:
        return redirect(address(shown.grader, request.GET.dict() | {"trial": shown.uid}))
    return render(request, f"graders/trial.html{part}", _trial_context(request, shown))


def _trial_context(request: HttpRequest, trial: GraderTrial) -> Json:
    home = _home(trial)
    context = {
        "trial": trial,
        "home": home + ("&" if "?" in home else "?"),
        "pending": trial.state in {GraderTrial.State.QUEUED, GraderTrial.State.RUNNING},
        "worker_online": nodes.online().exists(),
    }
    if trial.state == GraderTrial.State.FINISHED:
        context["shown"] = presenters.shown(trial, request.GET.dict())
    return context


# --- known answers ---------------------------------------------------------------------------------


@member(Role.EDITOR)
@require_POST
def keep(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Keep an answer of a trial as known good or bad."""
    grader = access.get(_graders().filter(deleted_at=None), uid=uid)
    trial = get_object_or_404(grader.trials, uid=request.POST.get("trial"))
    result = _result_at(trial, request.POST.get("index", ""))
    kind = request.POST.get("kind", "")
    if kind not in GraderTest.Kind.values:
        raise Http404("There is no such kind of known answer.")
    row = trial.rows[result["row"]]
    try:
        test = services.keep_answer(grader, access.user, row, result["answer"], kind)
    except services.TooManyTests as error:
        messages.error(request, str(error))
        return redirect(address(grader, {"trial": trial.uid}))
    if not request.htmx:  # type: ignore[attr-defined]
        messages.success(request, f"Kept as known {test.kind}.")
        return redirect(address(grader, {"trial": trial.uid}))
    context = {"test": test, "grader": grader, "access": access, "latest": _latest(grader)}
    return render(request, "graders/kept.html", context | check_context(_latest(grader)))


def _result_at(trial: GraderTrial, index: str) -> Json:
    if not index.isdecimal() or int(index) >= len(trial.results):
        raise Http404("There is no such result.")
    result: Json = trial.results[int(index)]
    return result


@member(Role.EDITOR)
@require_POST
def add_known(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Add a known answer by form."""
    grader = access.get(_graders().filter(deleted_at=None), uid=uid)
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
    return redirect(address(grader, request.GET))


@member(Role.EDITOR)
@require_POST
def delete_test(request: HttpRequest, access: Access, uid: str, test: str) -> HttpResponse:
    """Forget a known answer."""
    grader = access.get(_graders(), uid=uid)
    services.delete_test(get_object_or_404(grader.tests, uid=test), access.user)
    messages.success(request, "The known answer was deleted. The newest version is being checked again.")
    return redirect(address(grader, request.GET))
