"""Views of environments at servers: connecting one, and the page that shows and changes its connection."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from webapp.core.http import HtmxRequest
from webapp.environments import presenters
from webapp.environments.models import Environment, EnvironmentVersion
from webapp.environments.servers import services as servers
from webapp.environments.servers.forms import ChangeForm, ConnectForm
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@sensitive_variables()
@sensitive_post_parameters("secret")
@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def connect(request: HttpRequest, access: Access) -> HttpResponse:
    """Connect a server. Owners only: a connection reaches every server that workers reach."""
    form = ConnectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        environment = servers.connect_server(access.team, access.user, **form.cleaned_data)
        messages.success(request, f"Connected “{environment}”. A worker is testing it.")
        return redirect(environment)
    return render(request, "environments/connect.html", {"form": form}, status=422 if form.errors else 200)


@sensitive_variables()
@sensitive_post_parameters("secret")
def show_server(request: HtmxRequest, access: Access, environment: Environment) -> HttpResponse:
    """Show the connection, tools, tasks and the last test. An owner's POST saves a version."""
    latest = presenters.find_latest(environment)
    form = _build_form(request, latest)
    if request.method == "POST":
        access.require(Role.OWNER)
        if form.is_valid() and not environment.deleted_at:
            version, is_new = servers.change_server(latest, access.user, **form.cleaned_data)
            result = "Saved as version" if is_new else "Nothing changed since version"
            messages.success(request, f"{result} {version.number}.")
            return redirect(environment)
    context: dict[str, object] = {"environment": environment, "form": form}
    context |= presenters.build_context(latest) | presenters.build_versions_context(environment, latest)
    return render(request, "environments/server.html", context, status=422 if form.errors else 200)


def _build_form(request: HttpRequest, latest: EnvironmentVersion) -> ChangeForm:
    definition = servers.read_definition(latest)
    initial = definition.model_dump(exclude={"secret"})
    posted = request.POST if request.method == "POST" else None
    return ChangeForm(posted, kind=latest.type, has_secret=bool(definition.secret), initial=initial)
