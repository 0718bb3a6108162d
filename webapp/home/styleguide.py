"""The styleguide: a page with every component, for staff."""

from __future__ import annotations

from django import forms
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from webapp.jobs.models import Job, Pin
from webapp.jobs.states import State
from webapp.teams.access import require_user


class ExampleForm(forms.Form):
    """One field of each kind. The first one has an error."""

    name = forms.CharField(help_text="Shown in lists.")
    notes = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), required=False)
    role = forms.ChoiceField(choices=[("viewer", "Viewer"), ("editor", "Editor")])
    mail = forms.BooleanField(label="Send an e-mail", required=False)
    file = forms.FileField(required=False)


def show_styleguide(request: HttpRequest) -> HttpResponse:
    """Show every component in every variant."""
    if not request.user.is_authenticated or not require_user(request).is_staff:
        raise Http404("The styleguide is for staff.")
    context = {
        "kinds": ["info", "success", "warning", "error"],
        "states": State.values,
        "now": timezone.now(),
        "pinned": Job(pin=Pin.BASELINE),
        "curve": [0.1, 0.3, 0.25, 0.5, 0.7, 0.68, 0.9],
        "page": Paginator(range(1, 2049), 3).get_page(request.GET.get("page")),
        "form": ExampleForm({"role": "editor"}),
        "second": ExampleForm(auto_id="second_%s"),
    }
    return render(request, "styleguide.html", context)
