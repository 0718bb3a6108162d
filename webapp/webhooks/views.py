"""Views of a team's webhooks. Owners only: a webhook sends the team's news to another server."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.webhooks import deliveries, services
from webapp.webhooks.forms import EndpointForm, RotationForm, TestForm
from webapp.webhooks.models import WebhookDelivery, WebhookEndpoint

DELIVERIES = 50  # on a page


def _find(access: Access, uid: str) -> WebhookEndpoint:
    return access.get(WebhookEndpoint.objects.select_related("team"), uid=uid)


def _paginate(request: HttpRequest, found: QuerySet[WebhookDelivery]) -> Page[WebhookDelivery]:
    listed = found.select_related("endpoint", "event").order_by("-id")
    return Paginator(listed, DELIVERIES).get_page(request.GET.get("page"))


def _show_secret(response: HttpResponse) -> HttpResponse:
    """Keep the browser from showing the secret again after Back."""
    response.headers["Cache-Control"] = "no-store"
    return response


@member(Role.OWNER)
@require_GET
def list_endpoints(request: HttpRequest, access: Access) -> HttpResponse:
    """List the endpoints and the deliveries to all of them."""
    context = {
        "endpoints": WebhookEndpoint.objects.filter(team=access.team),
        "page": _paginate(request, WebhookDelivery.objects.filter(endpoint__team=access.team)),
    }
    return render(request, "webhooks/list.html", context)


@sensitive_variables("secret")
@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest, access: Access) -> HttpResponse:
    """Create an endpoint and show its signing secret, once."""
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            endpoint, secret = services.create_endpoint(access.team, access.user, **form.cleaned_data)
        except services.EndpointRefused as error:
            form.add_error(error.field, str(error))
        else:
            return _render_endpoint(request, endpoint, secret=secret)
    return render(request, "webhooks/new.html", {"form": form}, status=422 if form.errors else 200)


def _render_endpoint(
    request: HttpRequest, endpoint: WebhookEndpoint, *, form: EndpointForm | None = None, secret: str = ""
) -> HttpResponse:
    """Render the endpoint's page: its form, secret, test and deliveries."""
    values = {name: getattr(endpoint, name) for name in ("name", "url", "event_types")}
    context = {
        "endpoint": endpoint,
        "form": form or EndpointForm(initial=values),
        "rotation": RotationForm(),
        "test": TestForm(),
        "page": _paginate(request, endpoint.deliveries.all()),
        "secret": secret,
    }
    status = 422 if form and form.errors else 200
    return _show_secret(render(request, "webhooks/detail.html", context, status=status))


@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def show_endpoint(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Show an endpoint. A POST changes it."""
    endpoint = _find(access, uid)
    if request.method != "POST":
        return _render_endpoint(request, endpoint)
    form = EndpointForm(request.POST)
    if form.is_valid():
        try:
            services.update_endpoint(endpoint, access.user, **form.cleaned_data)
        except services.EndpointRefused as error:
            form.add_error(error.field, str(error))
        else:
            messages.success(request, f"Saved “{endpoint}”.")
            return redirect(endpoint)
    return _render_endpoint(request, endpoint, form=form)


@sensitive_variables("secret")
@member(Role.OWNER)
@require_POST
def rotate_secret(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Replace the signing secret and show the new one, once."""
    endpoint, form = _find(access, uid), RotationForm(request.POST)
    keep_old = form.is_valid() and form.cleaned_data["keep_old"]
    return _render_endpoint(
        request, endpoint, secret=services.rotate_secret(endpoint, access.user, keep_old=keep_old)
    )


@member(Role.OWNER)
@require_POST
def send_test(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Send a sample event and show the status of the response."""
    endpoint = _find(access, uid)
    try:
        status = services.send_test(endpoint, access.user, request.POST.get("event_type", ""))
    except (services.EndpointRefused, services.TestFailed) as error:
        messages.error(request, f"The test failed. {error}")
    else:
        messages.info(request, f"“{endpoint}” answered the test with status {status}.")
    return redirect(endpoint)


@member(Role.OWNER)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Delete an endpoint."""
    endpoint = _find(access, uid)
    services.delete_endpoint(endpoint, access.user)
    messages.success(request, f"Deleted “{endpoint}” and its signing secret.")
    return redirect("webhooks:list", access.team.slug)


@member(Role.OWNER)
@require_POST
def replay(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Send the event of a delivery again."""
    found = WebhookDelivery.objects.select_related("endpoint__team", "event")
    delivery = get_object_or_404(found, uid=uid, endpoint__team=access.team)
    deliveries.replay(delivery, access.user)
    messages.success(request, f"A worker sends {delivery.event.uid} again.")
    return redirect(delivery.endpoint)
