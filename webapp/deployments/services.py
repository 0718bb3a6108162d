"""Deploy models, promote versions and roll back. The gateway follows each change within a second."""

from __future__ import annotations

import re

from django.db import transaction
from django.db.models import Max, Q

from webapp.catalog.model_names import ModelTarget
from webapp.core.api.errors import ApiError, NotFound
from webapp.core.fields import replace_nul
from webapp.deployments.models import Deployment, Promotion, ServedVersion
from webapp.jobs.models import Checkpoint
from webapp.registry.services import list_base_models
from webapp.retention import gate
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NAME_RULE = (
    "Use 1 to 64 lower-case letters, digits, dots, dashes and underscores; start with a letter or digit."
)
REASON_LENGTH = 300


class NothingToRollBackTo(ApiError):
    """The deployment has no earlier version, or another one answers by now."""

    def __init__(self, message: str) -> None:
        super().__init__(message, param="from_version", code="no_rollback")


class VersionGone(ApiError):
    """The adapter of a version was deleted."""

    def __init__(self, version: ServedVersion) -> None:
        message = f"{version} cannot answer: {version.model_name} was deleted. Restore the model first."
        super().__init__(message, param="version", code="version_gone")


class HeldBack(ApiError):
    """The retention gate holds the model back, and nobody gave a reason to deploy it."""

    def __init__(self, reasons: list[str]) -> None:
        message = (
            f"The gate holds this model back: {' '.join(reasons)} Give a reason to deploy it all the same."
        )
        super().__init__(message, param="reason", code="model_held_back")


def find_deployment(team: Team, name: str) -> Deployment | None:
    """Return the team's deployment of this name or uid, with its stable version loaded."""
    named = Q(name=name) | Q(uid=name)
    return Deployment.objects.with_stable().select_related("team").filter(named, team=team).first()


@transaction.atomic
def deploy(team: Team, user: User | None, name: str, target: ModelTarget, reason: str = "") -> Deployment:
    """Make ``target`` answer under ``name``: create the deployment, or promote a version of it.

    Raises ApiError for a name that cannot be used or a checkpoint that is gone, and HeldBack.
    """
    _check_name(team, name)
    reason = _clean_reason(reason)
    _check_gate(target, reason)
    _lock_checkpoint(target)
    deployment, _ = Deployment.objects.get_or_create(team=team, name=name, defaults={"created_by": user})
    _lock(deployment)
    version = _find_or_add_version(deployment, user, target)
    record_event(team, user, "deployed", f"{target.name} as {name}")
    _promote(deployment, version, user, Promotion.Kind.PROMOTE, reason)
    return deployment


@transaction.atomic
def promote(deployment: Deployment, version: ServedVersion, user: User | None, reason: str = "") -> None:
    """Make a version of the deployment the stable one. Nothing happens if it is stable already.

    Raises VersionGone.
    """
    assert version.deployment_id == deployment.pk
    reason = _clean_reason(reason)
    _lock(deployment)
    record_event(deployment.team, user, "promoted", version)
    _promote(deployment, version, user, Promotion.Kind.PROMOTE, reason)


@transaction.atomic
def roll_back(
    deployment: Deployment, user: User | None, reason: str = "", leaving: str | None = None
) -> ServedVersion:
    """Return to the version that answered before the present one was promoted.

    ``leaving`` is the uid of the version that the caller saw as stable: two people who press the button
    at once go back one step. Raises NothingToRollBackTo or VersionGone.
    """
    reason = _clean_reason(reason)
    _lock(deployment)
    history = _list_rollbacks(deployment)
    if leaving and deployment.stable.uid != leaving:
        raise NothingToRollBackTo(f"{deployment.stable} answers by now. Look again before you roll back.")
    if not history:
        raise NothingToRollBackTo(f"{deployment} has no earlier version to roll back to.")
    record_event(deployment.team, user, "rolled back", f"{deployment.stable} to {history[-1]}")
    _promote(deployment, history[-1], user, Promotion.Kind.ROLLBACK, reason)
    return history[-1]


def find_rollback(deployment: Deployment) -> ServedVersion | None:
    """Return the version that ``roll_back`` would go to."""
    history = _list_rollbacks(deployment)
    return history[-1] if history else None


def _list_rollbacks(deployment: Deployment) -> list[ServedVersion]:
    """Return the versions that rolling back reaches, the next one last: a rollback undoes a promotion."""
    path: list[ServedVersion] = []
    log = deployment.promotions.select_related("version__deployment", "version__tuned_model").order_by("pk")
    for promotion in log:
        if promotion.kind == Promotion.Kind.ROLLBACK:
            path.pop()
        else:
            path.append(promotion.version)
    return path[:-1]


def _lock(deployment: Deployment) -> None:
    """Lock the deployment, and forget which version was stable before."""
    Deployment.objects.select_for_update().get(pk=deployment.pk)
    _forget_stable(deployment)


def _forget_stable(deployment: Deployment) -> None:
    for name in ("stable", "last_promotions"):
        deployment.__dict__.pop(name, None)


def _promote(
    deployment: Deployment, version: ServedVersion, user: User | None, kind: Promotion.Kind, reason: str
) -> None:
    last = deployment.promotions.select_related("version").first()
    previous = last.version if last else None
    if previous == version:
        return
    if not version.available:
        raise VersionGone(version)
    Promotion.objects.create(
        deployment=deployment, kind=kind, previous=previous, version=version, promoted_by=user, reason=reason
    )
    _forget_stable(deployment)


def _find_or_add_version(deployment: Deployment, user: User | None, target: ModelTarget) -> ServedVersion:
    same = deployment.versions.filter(
        base_model=target.base, adapter_sha256=target.sha256, model_name=target.name
    ).first()
    if same:
        return same
    number = (deployment.versions.aggregate(last=Max("number"))["last"] or 0) + 1
    return ServedVersion.objects.create(
        deployment=deployment, number=number, model_name=target.name, base_model=target.base,
        tuned_model=target.tuned_model, checkpoint=target.checkpoint, adapter_sha256=target.sha256,
        created_by=user,
    )  # fmt: skip


def _check_name(team: Team, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ApiError(f"{name!r} cannot name a deployment. {NAME_RULE}", param="name", code="invalid_value")
    if list_base_models(team).filter(model_id=name).exists():
        raise ApiError(f"{name!r} is a base model. Choose another name.", param="name", code="name_taken")


def _clean_reason(reason: str) -> str:
    reason = " ".join(replace_nul(reason).split())
    if len(reason) > REASON_LENGTH:
        raise ApiError(
            f"A reason has at most {REASON_LENGTH} characters.", param="reason", code="invalid_value"
        )
    return reason


def _lock_checkpoint(target: ModelTarget) -> None:
    """Keep the checkpoint from being deleted before the version names it. Raises NotFound if it was."""
    if target.checkpoint is None:
        return
    if not Checkpoint.objects.select_for_update().filter(pk=target.checkpoint.pk).exists():
        raise NotFound(f"The checkpoint {target.name!r} was deleted.", param="model", code="model_not_found")


def _check_gate(target: ModelTarget, reason: str) -> None:
    if target.tuned_model is None or reason:
        return
    result = gate.check_model(target.tuned_model)
    if result.state == gate.HELD_BACK:
        raise HeldBack(result.reasons)
