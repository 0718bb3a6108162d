"""Keep interactions and update their metadata.

Consent, redaction and split are decided before the first write.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from webapp.core.api.errors import ApiError
from webapp.core.fields import create_public_id
from webapp.datasets.content.rows import hash_prompt
from webapp.datasets.content.turns import render_content
from webapp.deployments.models import Deployment, ServedVersion
from webapp.interactions.feedback import Actor, NewFeedback, find_subject, record_feedback
from webapp.interactions.hashing import choose_split, hash_text
from webapp.interactions.models import Consent, DatasetCopy, Interaction, InteractionRules, Split
from webapp.interactions.redaction.placeholders import allot_placeholders
from webapp.interactions.redaction.redactor import Redactor
from webapp.interactions.rules import THUMB, decide_consent, find_rules, narrow_consent
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team, User
from workers.contract.adapter import WEIGHTS

if TYPE_CHECKING:
    from webapp.datasets.content.row_types import Message
    from workers.contract.json_types import JsonObject, JsonValue

KEPT_PARAMS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "presence_penalty",
    "frequency_penalty", "tools", "tool_choice",
)  # fmt: skip
PLAIN_METADATA = ("consent", "workload")  # words of the caller's program, not of people
THUMB_KEY = "feedback.thumb"
THUMBS = {"up": True, "down": False}
SEARCHED_CHARACTERS = 4000  # of the last message, and of the completion
HALF_MAX = 65504.0  # the largest float16


@dataclass(frozen=True)
class InteractionRecord:
    """A request that was answered, as the gateway saw it.

    ``adapter_sha256`` is what the model server reports, ``asked_sha256`` what the gateway asked for; None
    takes it from the deployment or the tuned model. ``completion`` is the assistant's message.
    ``user`` is the request's field, in plain text: it is stored as a hash only.
    """

    team: Team
    key_user: User | None
    deployment: Deployment | None
    model: str
    base_model: BaseModel
    tuned_model: TunedModel | None
    adapter_sha256: str
    messages: Sequence[JsonObject]
    params: JsonObject
    prompt_ids: Sequence[int]
    completion: JsonObject
    completion_ids: Sequence[int]
    logp_sampled: Sequence[float]
    logp_model: Sequence[float]
    propensity_ok: bool
    finish: str
    usage: JsonObject
    latency_ms: int
    metadata: Mapping[str, str]
    user: str
    created: datetime
    uid: str = ""
    asked_sha256: str | None = None
    system_fingerprint: str = ""
    idempotency_key: str = ""


@dataclass(frozen=True)
class RedactedTexts:
    """The texts of a record with placeholders; the flags say whether redaction changed them."""

    messages: list[JsonObject]
    completion: JsonObject
    params: JsonObject
    metadata: dict[str, str]
    prompt_changed: bool
    completion_changed: bool


def record_interaction(record: InteractionRecord) -> Interaction | None:
    """Keep a request with ``store: true``. Returns None without consent: then nothing is kept.

    A second record with the same idempotency key returns the first one.
    """
    rules = find_rules(record.team)
    verified = record.adapter_sha256 == _find_asked(record)
    consent = decide_consent(rules, record.metadata, verified)
    if consent == Consent.NONE:
        return None
    uid = record.uid or create_public_id("chatcmpl-")
    session = hash_text(rules.secret, "session", record.metadata.get("session") or uid)
    with transaction.atomic():
        redactor = Redactor(rules)
        texts = _redact(record, rules, redactor, session)
        interaction = Interaction(
            uid=uid,
            verified=verified,
            consent=consent,
            session_hash=session,
            subject_hash=hash_subject(rules, record.user),
            expires_at=record.created + timedelta(days=rules.retention_days),
            redactor=redactor.version,
            **_build_model_fields(record),
            **_build_text_fields(texts),
            **_build_token_fields(record, texts),
        )
        interaction.split = _choose_split(rules, interaction)
        return _insert(interaction)


def hash_subject(rules: InteractionRules, user: str) -> str:
    """Return the hash of a caller's ``user``; empty without one."""
    return hash_text(rules.secret, "subject", user) if user else ""


def select_trainable(interactions: QuerySet[Interaction]) -> QuerySet[Interaction]:
    """Return those that may train: with consent, and answered by the adapter that was asked."""
    return interactions.filter(verified=True, consent=Consent.TRAIN)


@transaction.atomic
def update_metadata(interaction: Interaction, metadata: Mapping[str, str], actor: Actor) -> Interaction:
    """Replace the metadata, redacted. ``feedback.thumb`` is also recorded as feedback of ``actor``.

    Raises ApiError for a thumb that is neither up nor down, and for consent that would be wider.
    """
    if (thumb := metadata.get(THUMB_KEY)) is not None:
        if thumb not in THUMBS:
            message = f"{THUMB_KEY} must be 'up' or 'down'."
            raise ApiError(message, param=f"metadata.{THUMB_KEY}", code="invalid_value")
        subject = find_subject(interaction.team, interaction)
        record_feedback(subject, actor, NewFeedback(THUMB, THUMBS[thumb]))
    if (stated := metadata.get("consent")) is not None:
        interaction.consent = _check_narrower(interaction.consent, stated)
    rules = find_rules(interaction.team)
    redactor = Redactor(rules)
    placeholders = allot_placeholders(rules, interaction.session_hash, redactor.collect(dict(metadata)))
    interaction.metadata = {
        name: str(redactor.replace(value, placeholders)) for name, value in metadata.items()
    }
    interaction.save(update_fields=["metadata", "consent"])
    return interaction


def _check_narrower(present: str, stated: str) -> Consent:
    if stated == Consent.NONE:
        message = "Delete the completion to withdraw all consent."
    elif stated not in Consent.values or narrow_consent(present, stated) != stated:
        message = f"Consent can only be narrowed, and it is {str(present)!r}."
    else:
        return Consent(stated)
    raise ApiError(message, param="metadata.consent", code="invalid_value")


def _find_asked(record: InteractionRecord) -> str:
    if record.asked_sha256 is not None:
        return record.asked_sha256
    if record.deployment:
        return record.deployment.stable.adapter_sha256
    files = record.tuned_model.files if record.tuned_model else []
    return next((file["sha256"] for file in files if file["name"] == WEIGHTS), "")


def _find_version(record: InteractionRecord) -> ServedVersion | None:
    return record.deployment.stable if record.deployment else None


def _redact(
    record: InteractionRecord, rules: InteractionRules, redactor: Redactor, session: str
) -> RedactedTexts:
    plain = {name: record.metadata[name] for name in PLAIN_METADATA if name in record.metadata}
    other = {name: value for name, value in record.metadata.items() if name not in plain}
    before = cast(
        "list[JsonValue]", [list(record.messages), record.completion, _select_params(record.params), other]
    )
    placeholders = allot_placeholders(rules, session, redactor.collect(before))
    after = [redactor.replace(value, placeholders) for value in before]
    return RedactedTexts(
        messages=cast("list[JsonObject]", after[0]),
        completion=cast("JsonObject", after[1]),
        params=cast("JsonObject", after[2]),
        metadata=plain | cast("dict[str, str]", after[3]),
        prompt_changed=after[0] != before[0] or after[2] != before[2],
        completion_changed=after[1] != before[1],
    )


def _select_params(params: JsonObject) -> JsonObject:
    """Keep sampling settings and tools; of a response format only its hash."""
    kept = {name: params[name] for name in KEPT_PARAMS if params.get(name) is not None}
    if form := params.get("response_format"):
        kept["format_sha256"] = hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()
    return kept


def _build_model_fields(record: InteractionRecord) -> dict[str, object]:
    return {
        "team": record.team, "key_user": record.key_user, "deployment": record.deployment,
        "version": _find_version(record), "model": record.model, "base_model": record.base_model,
        "tuned_model": record.tuned_model, "adapter_sha256": record.adapter_sha256,
        "fingerprint": record.system_fingerprint, "finish": record.finish, "usage": record.usage,
        "latency_ms": record.latency_ms, "created_at": record.created,
        "idempotency_key": record.idempotency_key,
    }  # fmt: skip


def _build_text_fields(texts: RedactedTexts) -> dict[str, object]:
    last = render_content(texts.messages[-1].get("content")) if texts.messages else ""
    answer = render_content(texts.completion.get("content"))
    return {
        "messages": texts.messages, "completion": texts.completion, "params": texts.params,
        "metadata": texts.metadata,
        "search_text": f"{last[:SEARCHED_CHARACTERS]}\n{answer[:SEARCHED_CHARACTERS]}",
        "prompt_digest": digest_prompt(texts.messages),
    }  # fmt: skip


def _build_token_fields(record: InteractionRecord, texts: RedactedTexts) -> dict[str, object]:
    """Keep token ids only where redaction changed nothing: they would spell out what it removed."""
    hidden = texts.prompt_changed or texts.completion_changed
    completion = not texts.completion_changed
    sampled = record.params.get("temperature") != 0
    return {
        "prompt_ids": [] if texts.prompt_changed else list(record.prompt_ids),
        "completion_ids": list(record.completion_ids) if completion else [],
        "logp_sampled": pack_halves(record.logp_sampled if completion else []),
        "logp_model": pack_halves(record.logp_model if completion else []),
        "propensity_ok": record.propensity_ok and sampled and not hidden,
    }


def digest_prompt(messages: Sequence[JsonObject]) -> str:
    """Return the hash of a prompt, the same for texts that differ in case or white space only."""
    plain = [{"role": each.get("role"), "content": render_content(each.get("content"))} for each in messages]
    return hash_prompt(cast("list[Message]", plain)).hex()


def pack_halves(numbers: Sequence[float]) -> bytes:
    """Pack numbers as float16, little-endian. Numbers beyond its range become the nearest one in it."""
    clamped = [max(-HALF_MAX, min(HALF_MAX, each)) if not math.isnan(each) else each for each in numbers]
    return struct.pack(f"<{len(clamped)}e", *clamped)


def _choose_split(rules: InteractionRules, interaction: Interaction) -> str:
    split = choose_split(rules.secret, interaction.session_hash)
    copied = DatasetCopy.objects.filter(team=interaction.team, prompt_digest=interaction.prompt_digest)
    return Split.SEEN if split == Split.FRESH and copied.exists() else split


def _insert(interaction: Interaction) -> Interaction:
    if not interaction.idempotency_key:
        interaction.save(force_insert=True)
        return interaction
    try:
        with transaction.atomic():
            interaction.save(force_insert=True)
    except IntegrityError:
        same = {name: getattr(interaction, name) for name in ("team", "model", "idempotency_key")}
        return Interaction.objects.get(**same)
    return interaction
