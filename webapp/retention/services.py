"""Release models that the retention gate holds back."""

from __future__ import annotations

from django.db import transaction

from webapp.registry.models import TunedModel
from webapp.retention import gate
from webapp.retention.models import Release
from webapp.teams.models import User
from webapp.teams.services import record_event


class NotHeldBack(ValueError):
    """There is nothing to release."""


@transaction.atomic
def release_model(model: TunedModel, user: User, reason: str) -> Release:
    """Mark a held-back model as ready. Raises ``NotHeldBack``."""
    TunedModel.objects.select_for_update().get(pk=model.pk)
    if gate.check_model(model).state != gate.HELD_BACK:
        raise NotHeldBack("The gate does not hold this model back.")
    release = Release.objects.create(model=model, released_by=user, reason=reason)
    record_event(model.team, user, "released model that the retention gate held back", model)
    return release
