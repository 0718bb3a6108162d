"""The models that the playground offers."""

from __future__ import annotations

from webapp.deployments.models import Deployment
from webapp.registry.models import TunedModel
from webapp.registry.services import list_base_models
from webapp.teams.models import Team


def list_models(team: Team) -> list[tuple[str, str]]:
    """Return (name, label) of deployments, tuned models and base models. Checkpoints are not listed."""
    deployments = Deployment.objects.filter(team=team).order_by("name")
    tuned = TunedModel.objects.alive().filter(team=team)
    bases = list_base_models(team).order_by("pk")
    return [
        *((each.name, f"{each.name} (deployment)") for each in deployments),
        *((each.name, each.name) for each in tuned),
        *((each.model_id, f"{each.model_id} (base)") for each in bases),
    ]
