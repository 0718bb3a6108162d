"""Models to deploy: two tuned models whose files are in the registry only."""

from __future__ import annotations

from webapp.catalog.model_names import ModelTarget, find_target
from webapp.registry.models import TunedModel
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team


def make_target(team: Team, name: str, sha256: str) -> ModelTarget:
    """A tuned model of the starter model, as a target."""
    files = [{"name": "adapter_model.safetensors", "bytes": 1, "sha256": sha256}]
    TunedModel.objects.create(
        team=team, base_model=ensure_starter_model(), name=name, prefix=f"gone/{sha256}", files=files
    )
    target = find_target(team, name)
    assert target is not None
    return target


def first(team: Team) -> ModelTarget:
    return make_target(team, "ft:starter:acme:one:aaaaaaaa", "a" * 64)


def second(team: Team) -> ModelTarget:
    return make_target(team, "ft:starter:acme:two:bbbbbbbb", "b" * 64)
