"""Stored chat completions: list, retrieve, update, delete, and their messages."""

from __future__ import annotations

from typing import Any, Literal, cast

from ninja import Router, Schema

from webapp.core.api.errors import ApiError, NotFound
from webapp.core.api.lists import ListPage, Order, list_page, parse_limit
from webapp.core.api.metadata import Metadata, filter_by_metadata, read_filters
from webapp.interactions import erasure, services
from webapp.interactions.api.actors import find_actor
from webapp.interactions.models import Interaction
from webapp.keys.authentication import READ, WRITE, ApiRequest
from webapp.teams.models import Team
from workers.contract.json_types import JsonObject

router = Router(tags=["Chat completions"])


class NewMetadata(Schema):
    """Metadata that replaces the present one."""

    metadata: Metadata | None


class Deleted(Schema):
    """A completion that no longer exists."""

    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: bool = True


def describe_completion(interaction: Interaction) -> dict[str, Any]:
    """Return OpenAI's object of a stored completion, with what Groove adds at its end."""
    message = {"refusal": None, **interaction.completion, "role": "assistant"}
    choice = {"index": 0, "finish_reason": interaction.finish, "logprobs": None, "message": message}
    return {
        "id": interaction.uid,
        "object": "chat.completion",
        "created": int(interaction.created_at.timestamp()),
        "model": interaction.model,
        "system_fingerprint": interaction.fingerprint or None,
        "choices": [choice],
        "usage": interaction.usage or None,
        "metadata": interaction.metadata,
        **_describe_params(interaction.params),
        **_describe_origin(interaction),
    }


def _describe_params(params: JsonObject) -> JsonObject:
    shown = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "tools", "tool_choice")
    return {name: params.get(name) for name in shown}


def _describe_origin(interaction: Interaction) -> dict[str, Any]:
    return {
        "deployment": interaction.deployment.name if interaction.deployment else None,
        "version": interaction.version.uid if interaction.version else None,
        "adapter_sha256": interaction.adapter_sha256,
        "adapter_verified": interaction.verified,
        "consent": interaction.consent,
        "split": interaction.split,
        "subject_hash": interaction.subject_hash or None,
        "latency_ms": interaction.latency_ms,
        "expires_at": int(interaction.expires_at.timestamp()),
    }


def find_interaction(team: Team, uid: str, param: str = "completion_id") -> Interaction:
    """Return the team's interaction. Raises NotFound."""
    found = Interaction.objects.select_related("team", "deployment", "version").filter(team=team, uid=uid)
    interaction = found.first()
    if interaction is None:
        raise NotFound(f"No chat completion has the id {uid!r}.", param=param)
    return interaction


@router.get("", auth=READ, response=ListPage)
def list_completions(
    request: ApiRequest,
    after: str | None = None,
    limit: str | None = None,
    order: Order = "asc",
    model: str | None = None,
) -> ListPage:
    """List stored completions, also by ``metadata[key]=value``."""
    found = Interaction.objects.select_related("deployment", "version").filter(team=request.auth.team)
    if model:
        found = found.filter(model=model)
    found = filter_by_metadata(found, read_filters(request.GET))
    return list_page(found, describe_completion, after=after, limit=parse_limit(limit, 20), order=order)


@router.get("/{completion_id}", auth=READ, response=dict[str, Any])
def retrieve_completion(request: ApiRequest, completion_id: str) -> dict[str, Any]:
    """Retrieve a stored completion."""
    return describe_completion(find_interaction(request.auth.team, completion_id))


@router.post("/{completion_id}", auth=WRITE, response=dict[str, Any])
def update_completion(request: ApiRequest, completion_id: str, body: NewMetadata) -> dict[str, Any]:
    """Replace the metadata. ``feedback.thumb`` (up, down) is also feedback; ``consent`` only narrows."""
    interaction = find_interaction(request.auth.team, completion_id)
    metadata = body.metadata or {}
    if any("\x00" in text for pair in metadata.items() for text in pair):
        raise ApiError("Metadata holds no NUL characters.", param="metadata", code="invalid_value")
    services.update_metadata(interaction, metadata, find_actor(request.auth))
    return describe_completion(interaction)


@router.delete("/{completion_id}", auth=WRITE, response=Deleted)
def delete_completion(request: ApiRequest, completion_id: str) -> Deleted:
    """Delete a stored completion with its feedback."""
    erasure.delete_interaction(find_interaction(request.auth.team, completion_id), request.auth.user)
    return Deleted(id=completion_id)


@router.get("/{completion_id}/messages", auth=READ, response=ListPage)
def list_messages(
    request: ApiRequest,
    completion_id: str,
    after: str | None = None,
    limit: str | None = None,
    order: Order = "asc",
) -> ListPage:
    """List the messages of the prompt, as they were kept."""
    interaction = find_interaction(request.auth.team, completion_id)
    described = [_describe_message(interaction, number) for number in range(len(interaction.messages))]
    if order == "desc":
        described.reverse()
    start, most = _find_start(described, after), parse_limit(limit, 20)
    data = described[start : start + most]
    return ListPage(
        data=data,
        has_more=start + most < len(described),
        first_id=data[0]["id"] if data else None,
        last_id=data[-1]["id"] if data else None,
    )


def _describe_message(interaction: Interaction, number: int) -> dict[str, Any]:
    message = interaction.messages[number]
    content = message.get("content")
    parts = cast("list[Any]", content) if isinstance(content, list) else None
    text = content if parts is None else None
    return {**message, "id": f"{interaction.uid}-{number}", "content": text, "content_parts": parts}


def _find_start(described: list[dict[str, Any]], after: str | None) -> int:
    if not after:
        return 0
    ids = [each["id"] for each in described]
    if after not in ids:
        raise ApiError(f"No object has the id {after!r}.", param="after", code="invalid_value")
    return ids.index(after) + 1
