"""Which model answers to a name."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from webapp.catalog.model_names import ModelTarget, find_askable
from webapp.core.api.errors import NotFound
from webapp.deployments.models import Deployment
from webapp.deployments.services import find_deployment
from webapp.jobs.models import Checkpoint
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team

UNKNOWN = "The model {!r} does not exist or you do not have access to it."
GONE = "The model of the deployment {!r} was deleted. Restore it, or promote another version."


@dataclass(frozen=True)
class Route:
    """A model by the name that a caller asked for. ``version`` names what answers, exactly."""

    name: str
    version: str
    base: BaseModel
    tuned_model: TunedModel | None
    checkpoint: Checkpoint | None
    sha256: str  # of the adapter's weights; empty for a base
    deployment: Deployment | None = None

    @property
    def fingerprint(self) -> str:
        """Equal as long as the same weights answer."""
        return "fp_" + sha256(f"{self.base.uid} {self.sha256}".encode()).hexdigest()[:16]


def find_route(team: Team, name: str) -> Route:
    """Return what answers to the name in this team. Raises NotFound (``model_not_found``)."""
    if deployment := find_deployment(team, name):
        return _follow_deployment(name, deployment)
    if target := find_askable(team, name):
        return build_route(name, target)
    raise _build_error(UNKNOWN.format(name))


def build_route(name: str, target: ModelTarget) -> Route:
    """Return the route of a model without a deployment."""
    return Route(name, target.name, target.base, target.tuned_model, target.checkpoint, target.sha256)


def _follow_deployment(name: str, deployment: Deployment) -> Route:
    stable = deployment.stable
    if not stable.available:
        raise _build_error(GONE.format(deployment.name))
    return Route(
        name, stable.uid, stable.base_model, stable.tuned_model, stable.checkpoint, stable.adapter_sha256,
        deployment,
    )  # fmt: skip


def _build_error(message: str) -> NotFound:
    return NotFound(message, param="model", code="model_not_found")
