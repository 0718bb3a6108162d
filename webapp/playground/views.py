"""Views of the playground: its page, and the answers of models."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST
from pydantic import ValidationError

from webapp.core.api.errors import ApiError
from webapp.playground.choices import list_models
from webapp.playground.connected import ConnectedAnswer, list_connected
from webapp.playground.forms import CompletionForm, SettingsForm
from webapp.playground.rows import PromptRow, find_row
from webapp.serving.gateway.callers import Caller
from webapp.serving.gateway.completions import Completion
from webapp.serving.gateway.responses import respond, stream_events
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.serving.routing import find_route
from webapp.teams.access import Access, find_access, member, require_user


@member()
@require_GET
def show_playground(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the form with the settings of the address, and a place for each model's answer."""
    choices = list_models(access)
    asked = [request.GET.get(f"model_{number}", "") for number in (1, 2, 3)]
    form = SettingsForm(request.GET or None, team=access.team, models=choices, asked=asked)
    prompt = _find_prompt(access, form) if form.is_valid() else None
    labels, connected = dict(choices), {each.uid for each in list_connected(access.team)}
    context = {
        "form": form,
        "has_models": bool(choices),
        "models": [(name, labels.get(name, name), name in connected) for name in form.models],
        "prompt": prompt,
        "api_url": request.build_absolute_uri("/v1"),
    }
    return render(request, "playground/page.html", context | _link_rows(request, prompt))


def _find_prompt(access: Access, form: SettingsForm) -> PromptRow | None:
    data = form.cleaned_data
    if not data["dataset"]:
        return None
    return find_row(access.team, data["dataset"], data["split"], data["row"] or 1)


def _link_rows(request: HttpRequest, prompt: PromptRow | None) -> dict[str, str]:
    """Return the query strings of the rows before and after."""
    if prompt is None:
        return {}
    links = {}
    for name, number in (("previous_url", prompt.number - 1), ("next_url", prompt.number + 1)):
        if 1 <= number <= prompt.count:
            query = request.GET.copy()
            query["row"] = str(number)
            links[name] = f"?{query.urlencode()}"
    return links


@require_POST
async def complete(request: HttpRequest, team: str) -> HttpResponseBase:
    """Answer like ``POST /v1/chat/completions``, for the signed-in member; endpoints always stream."""
    await request.auser()  # loads the session outside the event loop's thread
    try:
        answer = await sync_to_async(_find_answer)(request, team)
        if isinstance(answer, ConnectedAnswer):
            return await stream_events(answer.stream(), {"Cache-Control": "no-cache"})
        return await respond(answer)
    except ApiError as error:
        return error.build_response()


def _find_answer(request: HttpRequest, team: str) -> Completion | ConnectedAnswer:
    """Check the member and the request. Raises Http404 and ApiError."""
    access = find_access(require_user(request), team)
    body, caller = _parse_request(request), Caller(access.team, access.user, None)
    if access.can_edit:
        for endpoint in list_connected(access.team):
            if endpoint.uid == body.model:
                return ConnectedAnswer(caller, body, endpoint)
    return Completion(caller, body, find_route(access.team, body.model))


def _parse_request(request: HttpRequest) -> CompletionRequest:
    form = CompletionForm(request.POST)
    if not form.is_valid():
        raise ApiError(" ".join(map(str, form.errors["body"])))
    try:
        return CompletionRequest.model_validate(form.cleaned_data["body"])
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(map(str, first["loc"]))
        raise ApiError(f"Invalid '{param}': {first['msg']}.", param=param) from error
