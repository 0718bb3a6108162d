"""Downloads of models that the retention gate holds back: confirmed first, and recorded."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from webapp.jobs.models import Job
from webapp.registry.models import TunedModel
from webapp.retention import gate
from webapp.teams.access import Access
from webapp.teams.services import record_event

VERB = "downloaded held-back model"


def confirm_download(
    request: HttpRequest, access: Access, what: str, source: TunedModel | Job, reasons: Sequence[str]
) -> HttpResponse | None:
    """Return a page that asks to confirm a download from ``source``; None without reasons, or if confirmed.

    The confirmation is a POST to the same URL. The audit log stores who confirmed ``what``.
    """
    if not reasons:
        return None
    if request.method == "POST":
        record_event(access.team, access.user, VERB, what)
        return None
    context = {"what": what, "source": source, "reasons": reasons}
    return render(request, "catalog/held_back.html", context, status=409)


def confirm_model_download(
    request: HttpRequest, access: Access, model: TunedModel, what: str = ""
) -> HttpResponse | None:
    """Return the same page for a model, or for a file or an export of it."""
    result = gate.check_model(model)
    reasons = result.reasons if result.state == gate.HELD_BACK else []
    return confirm_download(request, access, what or str(model), model, reasons)
