"""``/v1/fine_tuning/checkpoints``: permissions of other teams to ask a model, for keys of owners."""

from __future__ import annotations

from typing import Any, Literal

from ninja import Field, Router, Schema

from webapp.catalog import sharing
from webapp.catalog.model_names import ModelTarget, find_target
from webapp.core.api.errors import NotFound
from webapp.core.api.lists import ListPage, list_page, parse_limit
from webapp.core.api.texts import StorableText
from webapp.jobs.models import CheckpointPermission
from webapp.keys.authentication import ApiRequest, KeyAuthentication
from webapp.keys.models import Scope
from webapp.teams.models import Role

router = Router(tags=["Fine-tuning"])
OWNER_READ = KeyAuthentication(Scope.READ, Role.OWNER)
OWNER_WRITE = KeyAuthentication(Scope.WRITE, Role.OWNER)
MOST_PROJECTS = 100


class PermissionRequest(Schema):
    project_ids: list[StorableText] = Field(min_length=1, max_length=MOST_PROJECTS)


class PermissionObject(Schema):
    """``project_id`` is the team that may ask the model."""

    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    id: str
    created_at: int
    project_id: str


class DeletedPermission(Schema):
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    id: str
    deleted: Literal[True] = True


@router.get("/{path:model}/permissions", auth=OWNER_READ, response=ListPage)
def list_permissions(
    request: ApiRequest,
    model: str,
    after: str | None = None,
    limit: str | None = None,
    order: Literal["ascending", "descending"] = "descending",
    project_id: str | None = None,
) -> ListPage:
    """List the teams that may ask a checkpoint or a tuned model, newest first."""
    found = sharing.select_permissions(_find(request, model))
    if project_id is not None:
        found = found.filter(team__slug=project_id)
    return list_page(
        found, _describe, after=after, limit=parse_limit(limit, 10),
        order="asc" if order == "ascending" else "desc",
    )  # fmt: skip


@router.post("/{path:model}/permissions", auth=OWNER_WRITE, response=ListPage)
def create_permissions(request: ApiRequest, model: str, body: PermissionRequest) -> ListPage:
    """Let other teams of the key's user ask a checkpoint or a tuned model."""
    target = _find(request, model)
    shared = sharing.share(request.auth.team, request.auth.user, target, body.project_ids)
    data = [_describe(each) for each in shared]
    return ListPage(data=data, has_more=False, first_id=data[0]["id"], last_id=data[-1]["id"])


@router.delete("/{path:model}/permissions/{permission_id}", auth=OWNER_WRITE, response=DeletedPermission)
def delete_permission(request: ApiRequest, model: str, permission_id: str) -> DeletedPermission:
    """End a team's permission."""
    target = _find(request, model)
    permission = sharing.select_permissions(target).filter(uid=permission_id).first()
    if permission is None:
        raise NotFound(f"No such permission: {permission_id}")
    sharing.revoke(request.auth.team, request.auth.user, permission, target)
    return DeletedPermission(id=permission_id)


def _find(request: ApiRequest, name: str) -> ModelTarget:
    """Return the team's checkpoint or tuned model. Raises NotFound."""
    target = find_target(request.auth.team, name)
    if target is None or (target.checkpoint is None and target.tuned_model is None):
        raise NotFound(
            f"The checkpoint {name!r} does not exist.",
            param="fine_tuned_model_checkpoint",
            code="model_not_found",
        )
    return target


def _describe(permission: CheckpointPermission) -> dict[str, Any]:
    return PermissionObject(
        id=permission.uid,
        created_at=int(permission.created_at.timestamp()),
        project_id=permission.team.slug,
    ).dict()
