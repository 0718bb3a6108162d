"""``/v1/models``: base models, tuned models and checkpoints."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from django.db import transaction
from ninja import Router, Schema

from webapp.catalog import removal
from webapp.catalog.model_names import ModelTarget, find_askable, find_target
from webapp.core.api.errors import ApiError, NotFound
from webapp.core.deletion import RemovalRefused
from webapp.jobs.checkpoints import delete_checkpoints
from webapp.jobs.models import Checkpoint, Job
from webapp.keys.authentication import READ, WRITE, ApiRequest
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.services import list_base_models
from webapp.teams.models import User
from webapp.teams.services import record_event
from workers.contract.json_types import JsonObject

router = Router(tags=["Models"])
SHARED_OWNER = "groove"
NEEDED = "The job {!r} resumes from this checkpoint. Cancel the job, or wait until it ends."


class ModelObject(Schema):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(Schema):
    object: Literal["list"] = "list"
    data: list[ModelObject]


class DeletedModel(Schema):
    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


@router.get("", auth=READ, response=ModelList)
def list_models(request: ApiRequest) -> JsonObject:
    """List the base models and the tuned models, newest first. Checkpoints are listed by their jobs."""
    team = request.auth.team
    tuned = TunedModel.objects.alive().filter(team=team).select_related("team")
    bases = list_base_models(team).select_related("team").order_by("-pk")
    return {"data": [*(_describe(each) for each in tuned), *(_describe(each) for each in bases)]}


@router.get("/{path:model}", auth=READ, response=ModelObject)
def retrieve_model(request: ApiRequest, model: str) -> JsonObject:
    """Retrieve a base model, a tuned model or a checkpoint by its name, also one shared by another team."""
    target = _require(find_askable(request.auth.team, model), model)
    described = target.checkpoint or target.tuned_model or target.base
    return _describe(described, target.name)


@router.delete("/{path:model}", auth=WRITE, response=DeletedModel)
def delete_model(request: ApiRequest, model: str) -> JsonObject:
    """Delete a tuned model, which can be restored on its page, or a checkpoint, for good."""
    target, user = _require(find_target(request.auth.team, model), model), request.auth.user
    try:
        if target.checkpoint:
            _delete_checkpoint(target.checkpoint, user)
        elif target.tuned_model:
            removal.delete_model(target.tuned_model, user)
        else:
            message = f"{target.name} is a base model. Only tuned models and checkpoints can be deleted."
            raise ApiError(message, status=HTTPStatus.FORBIDDEN)
    except RemovalRefused as error:
        raise ApiError(str(error), param="model") from error
    return {"id": target.name}


def _require(target: ModelTarget | None, name: str) -> ModelTarget:
    if target is None:
        raise NotFound(f"The model {name!r} does not exist.", param="model", code="model_not_found")
    return target


def _describe(model: BaseModel | TunedModel | Checkpoint, name: str = "") -> JsonObject:
    owner = model.job.team if isinstance(model, Checkpoint) else model.team
    return {
        "id": name or str(model),
        "created": int(model.created_at.timestamp()),
        "owned_by": owner.slug if owner else SHARED_OWNER,
    }


@transaction.atomic
def _delete_checkpoint(checkpoint: Checkpoint, user: User | None) -> None:
    """Delete it, unless its job needs it to resume, or a deployment answers with it.

    Raises ApiError and RemovalRefused.
    """
    job = Job.objects.select_for_update().get(pk=checkpoint.job_id)
    if job.live and not job.checkpoints.filter(step__gt=checkpoint.step).exists():
        raise ApiError(NEEDED.format(job.name), param="model")
    removal.check_deployments(checkpoint)
    delete_checkpoints(job.checkpoints.filter(pk=checkpoint.pk))
    record_event(checkpoint.job.team, user, "deleted checkpoint", f"step {checkpoint.step} of {job}")
