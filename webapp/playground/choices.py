"""The models that the playground offers."""

from __future__ import annotations

from webapp.deployments.models import Deployment
from webapp.playground.connected import list_connected
from webapp.registry.models import TunedModel
from webapp.registry.services import list_base_models
from webapp.teams.access import Access


def list_models(access: Access) -> list[tuple[str, str]]:
    """Return (name, label) of deployments, tuned models and base models, and for editors of endpoints.

    Checkpoints are not listed. Endpoints are known by their id, because a model may have the same name.
    """
    team = access.team
    connected = list_connected(team) if access.can_edit else []
    deployments = Deployment.objects.filter(team=team).order_by("name")
    tuned = TunedModel.objects.alive().filter(team=team)
    bases = list_base_models(team).order_by("pk")
    return [
        *((each.name, f"{each.name} (deployment)") for each in deployments),
        *((each.name, each.name) for each in tuned),
        *((each.model_id, f"{each.model_id} (base)") for each in bases),
        *((each.uid, f"{each.name} (endpoint)") for each in connected),
    ]
