"""Judges: connect endpoints, collect labels, make cards."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from webapp.graders.models import Grader, GraderTrial, GraderVersion
from webapp.judges.models import HINT_CHARACTERS, Endpoint, EndpointCheck, HumanLabel, JudgeCard, LabelTask
from webapp.judges.queues import CARDS, ENDPOINT_CHECKS
from webapp.teams.models import Team, User
from webapp.teams.services import record
from webapp.work.models import WorkState
from workers import grading
from workers.contract import graders, spec

FEWEST_LABELS = 30
FERNET_MARK = "gAAAAA"  # version and time of a Fernet token, in base64
LIMITS = (
    "requests_per_minute", "tokens_per_minute", "concurrency", "timeout_seconds", "input_price",
    "output_price", "budget",
)  # fmt: skip
Json = dict[str, Any]


class TooFewLabels(ValueError):
    """A card needs at least ``FEWEST_LABELS`` labels."""


# --- endpoints -------------------------------------------------------------------------------------


@sensitive_variables()
@transaction.atomic
def connect_endpoint(team: Team, user: User, *, api_key: str = "", **values: Any) -> Endpoint:
    """A judge model for this team's graders; ``values`` are the model's fields."""
    endpoint = Endpoint.objects.create(
        team=team, created_by=user, api_key=api_key, key_hint=_hint(api_key), **values
    )
    record(team, user, "connected judge", endpoint)
    return endpoint


@sensitive_variables()
@transaction.atomic
def update_endpoint(endpoint: Endpoint, user: User, *, api_key: str = "", **values: Any) -> None:
    """Change an endpoint; without a new key the old one stays, unless the address changes."""
    moved = values.get("base_url", endpoint.base_url) != endpoint.base_url
    changed = dict(values)
    if api_key or moved:
        changed |= {"api_key": api_key, "key_hint": _hint(api_key)}
    for name, value in changed.items():
        setattr(endpoint, name, value)
    endpoint.save(update_fields=list(changed))
    EndpointCheck.objects.filter(endpoint=endpoint).delete()
    record(endpoint.team, user, "changed judge", endpoint)


def unreadable(api_key: str) -> bool:
    """Whether a key came out of the database as it lies there: this process has another secret."""
    return api_key.startswith(FERNET_MARK)


def _hint(api_key: str) -> str:
    """Enough to tell two keys apart; nothing of a short one."""
    return api_key[-HINT_CHARACTERS:] if len(api_key) >= 4 * HINT_CHARACTERS else ""


@transaction.atomic
def delete_endpoint(endpoint: Endpoint, user: User) -> None:
    """Forget the key at once; graders that name the judge cannot be used until another one has its name."""
    endpoint.deleted_at, endpoint.api_key, endpoint.key_hint = timezone.now(), None, ""
    endpoint.save(update_fields=["deleted_at", "api_key", "key_hint"])
    EndpointCheck.objects.filter(endpoint=endpoint).delete()
    record(endpoint.team, user, "disconnected judge", endpoint)


@transaction.atomic
def request_check(endpoint: Endpoint) -> None:
    """Have a worker ask the judge one small question."""
    check, _ = EndpointCheck.objects.get_or_create(endpoint=endpoint)
    ENDPOINT_CHECKS.enqueue(check, seconds=None)


def has_pending_check(endpoints: Iterable[Endpoint]) -> bool:
    """True while a worker asks one of the endpoints, or is to ask it."""
    pending = (WorkState.QUEUED, WorkState.RUNNING)
    return EndpointCheck.objects.filter(endpoint__in=endpoints, state__in=pending).exists()


def endpoints_for(team: Team, grader: graders.Grader) -> dict[str, Endpoint]:
    """The endpoints of the models that the grader asks, by the names it has for them, as far as known."""
    wanted = grading.judge_models(grader)
    found = Endpoint.objects.filter(team=team, deleted_at=None, name__in=wanted).select_related("base_model")
    return {endpoint.name: endpoint for endpoint in found}


def missing_endpoints(team: Team, grader: graders.Grader) -> list[str]:
    """The models that the grader asks and nobody has connected."""
    known = endpoints_for(team, grader)
    return [model for model in grading.judge_models(grader) if model not in known]


def endpoint_spec(endpoint: Endpoint, base_url: str = "") -> spec.JudgeEndpoint:
    """The endpoint as the engine is told of it, without its key."""
    base = endpoint.base_model
    model = endpoint.model or (base.model_id if base else endpoint.name)
    identity = [endpoint.base_url, model]
    if base:
        identity += [base.model_id, base.revision, base.path]
        identity += [base.chat_template, base.template_arguments] if base.chat_template else []
    revision = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    limits = {name: getattr(endpoint, name) for name in LIMITS}
    return spec.JudgeEndpoint(
        base_url=base_url or endpoint.base_url, model=model, revision=revision, **limits
    )


# --- labels ----------------------------------------------------------------------------------------


@transaction.atomic
def create_label_task(grader: Grader, user: User, trial: GraderTrial) -> LabelTask:
    """The trial's answers, each once, in an order that tells nobody where they come from.

    The task of these answers that is there already, if there is one: no answer counts twice.
    """
    distinct = {(result["row"], result["answer"]): None for result in trial.results}
    answers = [{"row": row, "text": text} for row, text in distinct]
    random.Random(trial.pk).shuffle(answers)  # noqa: S311 -- hides nothing
    task, _ = LabelTask.objects.get_or_create(
        team=grader.team, grader=grader, rows=trial.rows, answers=answers, defaults={"created_by": user}
    )
    return task


class LabelledMeanwhile(ValueError):
    """Somebody else has labelled the answer, which this person was not shown."""


@transaction.atomic
def label(task: LabelTask, user: User, answer: int, value: int, seen: int | None = None) -> HumanLabel:
    """What ``user`` thinks of an answer; a second thought replaces the first.

    Another person's label is replaced only by someone who has ``seen`` it. Raises ``LabelledMeanwhile``.
    """
    before = task.labels.select_for_update().filter(answer=answer).first()
    if before and before.labelled_by != user and before.value != seen:
        raise LabelledMeanwhile
    given, _ = HumanLabel.objects.update_or_create(
        task=task, answer=answer, defaults={"value": value, "labelled_by": user}
    )
    return given


def labels_of(grader: Grader) -> list[Json]:
    """Every label of the grader's answers, as a card keeps them."""
    tasks = grader.label_tasks.prefetch_related("labels")
    return [_labelled(task, given) for task in tasks for given in task.labels.all()]


def _labelled(task: LabelTask, given: HumanLabel) -> Json:
    answer = task.answers[given.answer]
    row = task.rows[answer["row"]]
    return {
        "text": answer["text"],
        "item": row["item"],
        "prompt": row["messages"][-1]["content"],
        "group": f"{task.uid} {row['row_id']}",
        "value": given.value,
    }


# --- cards -----------------------------------------------------------------------------------------


@transaction.atomic
def create_card(version: GraderVersion, user: User) -> JudgeCard:
    """Have a worker hold the judge's word against the labels. Raises ``TooFewLabels``."""
    labels = labels_of(version.grader)
    if len(labels) < FEWEST_LABELS:
        raise TooFewLabels(f"A card needs {FEWEST_LABELS} labels; there are {len(labels)}.")
    card = JudgeCard.objects.create(
        team=version.grader.team, grader_version=version, labels=labels, created_by=user
    )
    CARDS.notify(card.pk)
    record(version.grader.team, user, "made judge card", version)
    return card


def card_for(version: GraderVersion) -> JudgeCard | None:
    """The newest finished card of the same definition, made with the judges that answer to its names now."""
    finished = JudgeCard.objects.filter(
        team=version.grader.team, grader_version__sha256=version.sha256, state=JudgeCard.State.FINISHED
    ).select_related("grader_version")
    now = judge_revisions(version)
    return next((card for card in finished if card.results.get("judges") == now), None)


def judge_revisions(version: GraderVersion) -> dict[str, str]:
    """What stands behind each judge that the version names: a hash of address and model."""
    endpoints = endpoints_for(version.grader.team, grading.validate(version.definition))
    return {name: endpoint_spec(endpoint).revision for name, endpoint in endpoints.items()}


def asks_judge(version: GraderVersion) -> bool:
    """Whether the version's grader asks a model."""
    return bool(grading.judge_models(grading.validate(version.definition)))


def agreements(team: Team, versions: Iterable[GraderVersion]) -> dict[int, Json | None]:
    """How far people agree with each of the team's ``versions`` that ask a judge, by the version's key.

    Cohen's kappa as ``{value, low, high}``, of the newest card that counts; ``None`` without one.
    """
    asked = {version: grading.judge_models(grading.validate(version.definition)) for version in set(versions)}
    asking = {version: models for version, models in asked.items() if models}
    if not asking:
        return {}
    endpoints = Endpoint.objects.filter(team=team, deleted_at=None).select_related("base_model")
    now = {endpoint.name: endpoint_spec(endpoint).revision for endpoint in endpoints}
    finished = JudgeCard.objects.filter(team=team, state=JudgeCard.State.FINISHED)
    cards = list(finished.values_list("grader_version__sha256", "results__judges", "results__kappa"))

    def measured(version: GraderVersion, models: list[str]) -> Json | None:
        revisions = {name: now[name] for name in models if name in now}
        counting = (kappa or {} for *made, kappa in cards if made == [version.sha256, revisions])
        return next(counting, None)

    return {version.pk: measured(version, models) for version, models in asking.items()}


def uncalibrated(team: Team, versions: Iterable[GraderVersion]) -> set[int]:
    """Which of the team's ``versions`` ask a judge that nobody has held against people's labels, by key."""
    return {key for key, kappa in agreements(team, versions).items() if kappa is None}


def is_uncalibrated(version: GraderVersion) -> bool:
    """Whether the version asks a judge that nobody has held against people's labels."""
    return asks_judge(version) and card_for(version) is None
