"""Views of the playground: its page, and the answers of models."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from webapp.catalog.model_names import list_names
from webapp.playground.forms import SettingsForm
from webapp.playground.rows import PromptRow, find_row
from webapp.teams.access import Access, member


@member()
@require_GET
def show_playground(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the form with the settings of the address, and a place for each model's answer."""
    names = list_names(access.team)
    form = SettingsForm(request.GET or None, team=access.team, models=names)
    form.is_valid()
    models = form.models if form.is_bound else [names[0][0]] if names else []
    labels = dict(names)
    prompt = _find_prompt(access, form) if form.is_bound else None
    context = {
        "form": form,
        "has_models": bool(names),
        "models": [(name, labels[name]) for name in models],
        "prompt": prompt,
        "api_url": _build_api_url(request),
    }
    return render(request, "playground/page.html", context | _link_rows(request, prompt))


def _find_prompt(access: Access, form: SettingsForm) -> PromptRow | None:
    data = form.cleaned_data
    if not data.get("dataset"):
        return None
    return find_row(access.team, data["dataset"], data["split"], data.get("row") or 1)
