"""Add and remove base models; register and describe tuned models."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.db.models import ProtectedError, Q, QuerySet
from django.utils.crypto import get_random_string
from django.utils.text import slugify

from webapp.core.fields import replace_nul
from webapp.registry import inspections
from webapp.registry.models import BaseModel, StoredFile, TunedModel
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from workers.contract.json_types import JsonObject

DESCRIPTION_LENGTH = 200
BASE_IN_NAME = 100  # longest part of a tuned model's name that names its base
SUFFIX_LENGTH = 64
STARTER_ID = "groove/starter"
STARTER_PATH = "workers/starter/model"
STARTER_SETTINGS: JsonObject = {
    "lora": {"rank": 16, "alpha": 32},
    "grpo": {
        "learning_rate": 1e-3,
        "group_size": 8,
        "prompts_per_step": 8,
        "max_prompt_length": 256,
        "max_completion_length": 48,
        "max_steps": 40,
        "checkpoint_every": 10,
    },
    "evaluation": {"every": 20, "max_rows": 120, "samples_per_row": 8},
    "resources": {"device": "cpu", "cpu_cores": 2},
}
TOOL_STARTER_ID = "groove/starter-tools"
TOOL_STARTER_PATH = "workers/starter/tool_use/model"
TOOL_STARTER_SETTINGS: JsonObject = {
    **STARTER_SETTINGS,
    "grpo": {
        "learning_rate": 1e-3,
        "group_size": 8,
        "prompts_per_step": 8,
        "max_prompt_length": 256,
        "max_completion_length": 192,
        "max_steps": 40,
        "checkpoint_every": 10,
    },
    "episode": {"max_turns": 11},
    "evaluation": {"every": 20, "max_rows": 96, "samples_per_row": 8},
}
"""Measured with ``workers.starter.tool_use.grpo_check``: ``docs/starter-model.md`` has the figures.

The oracle's episodes have at most 110 tokens after the prompt, and ten calls fit in 192. Turns: the ten calls
that the refund desk allows, and an answer.
"""


def ensure_starter_model() -> BaseModel:
    """Create or update the shared model that ships with Groove, by a path relative to the checkout."""
    description = "1.8 million parameters, ships with Groove; learns the sample tasks in minutes."
    return _ensure_shared_model(STARTER_ID, STARTER_PATH, description, STARTER_SETTINGS)


def ensure_tool_starter_model() -> BaseModel:
    """Create or update the shared model that calls tools, like the starter model."""
    description = "0.9 million parameters, ships with Groove; calls tools, learns the refund desk in minutes."
    return _ensure_shared_model(TOOL_STARTER_ID, TOOL_STARTER_PATH, description, TOOL_STARTER_SETTINGS)


def _ensure_shared_model(model_id: str, path: str, description: str, recommended: JsonObject) -> BaseModel:
    resources: JsonObject = {"device": "cpu", "cpu_cores": min(2, settings.CPU_CORES)}
    values = {"path": path, "description": description, "settings": recommended | {"resources": resources}}
    model, _ = BaseModel.objects.update_or_create(team=None, model_id=model_id, defaults=values)
    return model


@transaction.atomic
def add_base_model(
    team: Team,
    user: User,
    model_id: str,
    revision: str = "",
    path: str = "",
    chat_template: str = "",
    template_arguments: JsonObject | None = None,
) -> BaseModel:
    """Add a model for the team: a Hugging Face id, or a folder on the workers with any name."""
    model = BaseModel.objects.create(
        team=team,
        model_id=model_id,
        revision=revision,
        path=path,
        chat_template=chat_template,
        template_arguments=template_arguments or {},
    )
    record_event(team, user, "added base model", model)
    inspections.request_inspection(model)
    return model


class InUse(ValueError):
    """The base model is in use."""


@transaction.atomic
def remove_base_model(base: BaseModel, user: User) -> None:
    """Remove a team's base model. Raises ``InUse`` if jobs, models or judges need it."""
    assert base.team is not None, "a shared model stays"
    record_event(base.team, user, "removed base model", base)
    try:
        base.delete()
    except ProtectedError as error:
        users = ", ".join(sorted({str(each._meta.verbose_name_plural) for each in error.protected_objects}))
        raise InUse(f"{base} cannot be removed: {users} of the team use it.") from error


@transaction.atomic
def describe_model(model: TunedModel, user: User, text: str) -> None:
    """Set the description of a model. Raises ``ValueError`` if it is too long."""
    text = " ".join(replace_nul(text).split())
    if len(text) > DESCRIPTION_LENGTH:
        raise ValueError(f"The description has {len(text)} characters of at most {DESCRIPTION_LENGTH}.")
    TunedModel.objects.filter(pk=model.pk).update(description=text)
    record_event(model.team, user, "described model", model)


def build_tuned_name(base_model: BaseModel, team: Team, suffix: str) -> str:
    """Return ``ft:BASE:TEAM:SUFFIX:RANDOM``, as OpenAI names tuned models."""
    base = base_model.model_id.replace(":", "-")[:BASE_IN_NAME]
    return f"ft:{base}:{team.slug}:{slugify(suffix)[:SUFFIX_LENGTH]}:{get_random_string(8)}"


def list_base_models(team: Team) -> QuerySet[BaseModel]:
    """Return the base models that the team may use: the shared ones and its own."""
    return BaseModel.objects.filter(Q(team=team) | Q(team=None))


def find_base(team: Team, name: str) -> BaseModel | None:
    """Return the base model of this id: the team's own before a shared one."""
    # PostgreSQL sorts NULL, the team of shared models, last.
    return list_base_models(team).filter(model_id=name).order_by("team_id", "pk").first()


def find_tuned(team: Team, name: str) -> TunedModel | None:
    """Return the team's newest tuned model of this name that nobody has deleted."""
    models = TunedModel.objects.alive().select_related("base_model", "team")
    return models.filter(team=team, name=name).first()


def register_model(
    team: Team, base_model: BaseModel, name: str, prefix: str, files: list[StoredFile]
) -> TunedModel:
    """Register an adapter package that is complete and checked in storage."""
    return TunedModel.objects.create(team=team, base_model=base_model, name=name, prefix=prefix, files=files)
