"""Views of deployments."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.catalog.model_names import find_target
from webapp.core.api.errors import ApiError
from webapp.core.listing import ListQuery, Sorts
from webapp.deployments import services
from webapp.deployments.forms import DeployForm
from webapp.deployments.models import Deployment
from webapp.teams.access import Access, member
from webapp.teams.models import Role

SORTS: Sorts = {"": ("Name", ("name",)), "newest": ("Newest first", ("-id",))}


@member()
@require_GET
def list_deployments(request: HttpRequest, access: Access) -> HttpResponse:
    wanted = ListQuery(request.GET, SORTS)
    found = Deployment.objects.with_stable().select_related("team").filter(team=access.team)
    if text := wanted.filters["q"]:
        found = found.filter(name__icontains=text)
    return render(
        request, "deployments/list.html", {"page": wanted.paginate(found), **wanted.build_context()}
    )


@member()
@require_GET
def detail(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show which version answers, every version, and the log of promotions."""
    deployment = access.get(Deployment.objects.with_stable().select_related("team"), uid=uid)
    log = deployment.promotions.select_related(
        "previous__deployment", "version__deployment", "version__tuned_model__team", "promoted_by"
    )
    versions = deployment.versions.select_related(
        "base_model", "tuned_model__team", "deployment", "created_by"
    )
    context = {
        "deployment": deployment,
        "stable": deployment.stable,
        "log": log,
        "versions": versions,
        "rollback": services.find_rollback(deployment),
        "url": request.build_absolute_uri("/v1"),
    }
    return render(request, "deployments/detail.html", context)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """Deploy a model under a new name, or move a deployment to it."""
    initial = {name: request.GET.get(name, "") for name in ("model", "name")}
    form = DeployForm(request.POST or None, team=access.team, initial=initial)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        target = find_target(access.team, data["model"])
        try:
            if target is None:
                raise ApiError(f"{data['model']} does not exist any more.", param="model")
            deployed = services.deploy(access.team, access.user, data["name"], target, data["reason"])
        except ApiError as error:
            form.add_error(error.param if error.param in form.fields else None, str(error))
        else:
            messages.success(request, f"{deployed.stable.model_name} answers as “{deployed}” from now on.")
            return redirect(deployed)
    return render(request, "deployments/new.html", {"form": form}, status=422 if form.errors else 200)


@member(Role.EDITOR)
@require_POST
def promote(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    deployment = access.get(Deployment.objects.select_related("team"), uid=uid)
    version = get_object_or_404(deployment.versions, uid=request.POST.get("version", ""))
    try:
        services.promote(deployment, version, access.user)
    except ApiError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{version} answers from now on.")
    return redirect(deployment)


@member(Role.EDITOR)
@require_POST
def roll_back(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    deployment = access.get(Deployment.objects.select_related("team"), uid=uid)
    try:
        version = services.roll_back(
            deployment, access.user, request.POST.get("reason", ""), request.POST.get("from")
        )
    except ApiError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Rolled back: {version} answers from now on.")
    return redirect(deployment)
