"""Which model answers to a name."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from webapp.catalog.model_names import find_target
from webapp.core.api.errors import NotFound
from webapp.jobs.models import Checkpoint
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team


@dataclass(frozen=True)
class Route:
    """A model by the name that a caller asked for. ``version`` names what answers, exactly."""

    name: str
    version: str
    base: BaseModel
    tuned_model: TunedModel | None
    checkpoint: Checkpoint | None
    sha256: str  # of the adapter's weights; empty for a base

    @property
    def fingerprint(self) -> str:
        """Equal as long as the same weights answer."""
        return "fp_" + sha256(f"{self.base.uid} {self.sha256}".encode()).hexdigest()[:16]


def find_route(team: Team, name: str) -> Route:
    """Return what answers to the name in this team. Raises NotFound (``model_not_found``)."""
    target = find_target(team, name)
    if target is None:
        message = f"The model {name!r} does not exist or you do not have access to it."
        raise NotFound(message, param="model", code="model_not_found")
    return Route(name, target.name, target.base, target.tuned_model, target.checkpoint, target.sha256)
