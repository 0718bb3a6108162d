"""Views of imports from another service: connect, choose, follow. Owners only: they enter another key."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.core.http import HtmxRequest
from webapp.remote_imports import presenters, services
from webapp.remote_imports.client import RemoteError
from webapp.remote_imports.forms import ConnectForm
from webapp.remote_imports.models import RemoteImport
from webapp.teams.access import Access, member
from webapp.teams.models import Role

EARLIER = 20  # imports listed


def _select(access: Access) -> QuerySet[RemoteImport]:
    return RemoteImport.objects.filter(team=access.team).select_related("team")


@sensitive_variables()
@sensitive_post_parameters("api_key")
@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def connect(request: HttpRequest, access: Access) -> HttpResponse:
    """Ask for a service and a key. A POST lists what the key reads, to choose from."""
    form = ConnectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        url, key = form.cleaned_data["base_url"], form.cleaned_data["api_key"]
        try:
            content, ticket = services.connect(access.team, access.user, url, key)
        except RemoteError as error:
            form.add_error(None, str(error))
        else:
            context = {"content": content, "ticket": ticket, "base_url": url}
            return render(request, "remote_imports/choose.html", context)
    context = {"form": form, "earlier": _select(access)[:EARLIER]}
    return render(request, "remote_imports/connect.html", context, status=422 if form.errors else 200)


@member(Role.OWNER)
@require_POST
def start(request: HttpRequest, access: Access) -> HttpResponse:
    """Start the import of what was chosen."""
    files, jobs = request.POST.getlist("file"), request.POST.getlist("job")
    try:
        found = services.request_import(
            access.team, access.user, request.POST.get("ticket", ""), files=files, jobs=jobs
        )
    except services.ImportRefused as error:
        messages.error(request, str(error))
        return redirect("remote_imports:connect", access.team.slug)
    return redirect(found)


@member(Role.OWNER)
@require_GET
def show(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show what became of each item, and what is left."""
    found = access.get(_select(access), uid=uid)
    context = {"import": found, "items": presenters.list_items(found)}
    page = "remote_imports/show.html" + ("#progress" if request.htmx else "")
    return render(request, page, context)


@member(Role.OWNER)
@require_POST
def cancel(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Cancel an import."""
    found = access.get(_select(access), uid=uid)
    services.cancel_import(found, access.user)
    return redirect(found)
