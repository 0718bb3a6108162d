"""Share a checkpoint or a tuned model with other teams, which may then ask it."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.db.models import QuerySet

from webapp.catalog.model_names import ModelTarget
from webapp.core.api.errors import ApiError
from webapp.jobs.models import CheckpointPermission
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

UNKNOWN = (
    "{!r} is not the id of another team of yours. A project is a team; its id stands in its URL: /t/ID/."
)


def select_permissions(target: ModelTarget) -> QuerySet[CheckpointPermission]:
    """Return the permissions for a model."""
    model = {"checkpoint": target.checkpoint, "tuned_model": target.tuned_model}
    return CheckpointPermission.objects.filter(**model).select_related("team")


@transaction.atomic
def share(
    team: Team, user: User | None, target: ModelTarget, project_ids: Sequence[str]
) -> list[CheckpointPermission]:
    """Let these teams ask the model. A team that may already keeps its permission.

    Raises ApiError for a team of which the user is no member, so that nobody can test for teams.
    """
    known = {each.slug: each for each in user.teams.exclude(pk=team.pk)} if user else {}
    unknown = [each for each in project_ids if each not in known]
    if unknown:
        raise ApiError(UNKNOWN.format(unknown[0]), param="project_ids", code="invalid_value")
    permissions = []
    for slug in dict.fromkeys(project_ids):
        permission, new = select_permissions(target).get_or_create(
            team=known[slug], checkpoint=target.checkpoint, tuned_model=target.tuned_model
        )
        if new:
            record_event(team, user, "shared model", f"{target.name} with {slug}")
        permissions.append(permission)
    return permissions


@transaction.atomic
def revoke(team: Team, user: User | None, permission: CheckpointPermission, target: ModelTarget) -> None:
    """End a permission. The gateway follows within a second."""
    permission.delete()
    record_event(team, user, "stopped sharing model", f"{target.name} with {permission.team.slug}")
