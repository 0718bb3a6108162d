"""The names under which callers use models: of bases, tuned models and checkpoints."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from webapp.jobs.models import Checkpoint
from webapp.registry import services
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team
from workers.contract import adapter

CHECKPOINT = re.compile(r"(?P<job>.+):ckpt-step-(?P<step>[0-9]{1,9})", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class ModelTarget:
    """A model by its name: a base, or a base with the adapter of a tuned model or of a checkpoint."""

    name: str
    base: BaseModel
    tuned_model: TunedModel | None
    checkpoint: Checkpoint | None
    sha256: str  # of the adapter's weights; empty for a base


def find_target(team: Team, name: str) -> ModelTarget | None:
    """Return the team's model of this name; None without one.

    A base model's name wins, the team's own base before a shared one; of tuned models of one name wins the
    newest.
    """
    checkpoints = Checkpoint.objects.filter(job__team=team)
    return _find_base(team, name) or _find_tuned(team, name) or _find_checkpoint(checkpoints, name)


def find_askable(team: Team, name: str) -> ModelTarget | None:
    """Return the model of this name that the team may ask: its own, or one that another team shares."""
    return find_target(team, name) or _find_shared(team, name)


def _find_shared(team: Team, name: str) -> ModelTarget | None:
    tuned = TunedModel.objects.alive().filter(permissions__team=team, name=name)
    if model := tuned.select_related("base_model", "team").first():
        return describe_tuned(model)
    return _find_checkpoint(Checkpoint.objects.filter(permissions__team=team), name)


def describe_tuned(model: TunedModel) -> ModelTarget:
    """Return the target of a tuned model. It needs the model's files."""
    sha256 = next(file["sha256"] for file in model.files if file["name"] == adapter.WEIGHTS)
    return ModelTarget(model.name, model.base_model, model, None, sha256)


def _find_base(team: Team, name: str) -> ModelTarget | None:
    base = services.find_base(team, name)
    return ModelTarget(base.model_id, base, None, None, "") if base else None


def _find_tuned(team: Team, name: str) -> ModelTarget | None:
    model = services.find_tuned(team, name)
    return describe_tuned(model) if model else None


def _find_checkpoint(among: QuerySet[Checkpoint], name: str) -> ModelTarget | None:
    parts = CHECKPOINT.fullmatch(name)
    if parts is None:
        return None
    named = Q(job__tuned_model__name=parts["job"]) | Q(job__model_name=parts["job"])
    checkpoints = among.select_related("job__base_model", "job__tuned_model", "job__team")
    found = checkpoints.filter(named, job__deleted_at=None, step=int(parts["step"]))
    checkpoint = found.order_by("-pk").first()
    if checkpoint is None:
        return None
    return ModelTarget(name, checkpoint.job.base_model, None, checkpoint, checkpoint.adapter_sha256)
