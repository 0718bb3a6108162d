"""Views of a team's API keys."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from webapp.keys import services
from webapp.keys.examples import KeyExamples, build_examples
from webapp.keys.forms import KeyForm
from webapp.keys.models import ApiKey, Scope
from webapp.teams.access import Access, member
from webapp.teams.models import Role


def _show_secret(request: HttpRequest, key: ApiKey, secret: str) -> dict[str, object]:
    base_url = f"{settings.SITE_URL}/v1" if settings.SITE_URL else request.build_absolute_uri("/v1")
    examples: KeyExamples | None = None
    if Scope.READ in key.scopes:
        examples = build_examples(base_url, secret)
    return {"created": key, "secret": secret, "examples": examples}


@member()
def list_keys(request: HttpRequest, access: Access) -> HttpResponse:
    """List the member's keys (an owner sees all). A POST creates one and shows its secret, once."""
    form = KeyForm(request.POST or None, access=access)
    context: dict[str, object] = {}
    if request.method == "POST" and form.is_valid():
        key, secret = services.create_key(access.team, access.user, **form.build_arguments())
        context = _show_secret(request, key, secret)
        form = KeyForm(access=access)
    context["keys"] = services.select_keys(access.team, None if access.can_own else access.user)
    status = 422 if form.errors else 200
    response = render(request, "keys/list.html", context | {"form": form}, status=status)
    response.headers["Cache-Control"] = "no-store"  # Back must not show the secret again
    return response


@member()
@require_POST
def revoke(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Revoke a key: one's own, or any as an owner."""
    key = access.get(ApiKey.objects.select_related("team"), uid=uid)
    if key.user != access.user:
        access.require(Role.OWNER)
    if services.revoke_key(key, access.user):
        messages.success(request, f"{key.name} no longer works.")
    return redirect("keys:list", access.team.slug)
