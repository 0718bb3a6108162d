"""Feedback on interactions and sessions. Append-only: a newer one of an actor supersedes the older."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from django.db import transaction
from django.db.models import Q, QuerySet
from rapidfuzz.distance import Levenshtein

from webapp.core.api.errors import ApiError
from webapp.interactions.hashing import hash_text
from webapp.interactions.models import Feedback, Interaction, InteractionRules
from webapp.interactions.redaction.placeholders import allot_placeholders
from webapp.interactions.redaction.redactor import Redactor
from webapp.interactions.rules import find_rules, list_metrics
from webapp.teams.models import Team, User

Kind = Feedback.Kind
TEXTS = (Kind.COMMENT, Kind.DEMONSTRATION, Kind.EDIT)
CORRECTIONS = (Kind.DEMONSTRATION, Kind.EDIT)
MOST_CHARACTERS = 100_000
Value = bool | float | str


@dataclass(frozen=True)
class Subject:
    """What feedback is about: an interaction, or a session (an "episode") by its hash."""

    team: Team
    interaction: Interaction | None
    session_hash: str


@dataclass(frozen=True)
class Actor:
    """Who gives feedback. ``name`` is hashed; ``member`` is set for a person on the pages."""

    name: str
    source: Feedback.Source
    member: User | None = None


@dataclass(frozen=True)
class NewFeedback:
    """A value of a metric; ``metric`` also names the kinds that take a text."""

    metric: str
    value: Value
    tags: Mapping[str, str] = field(default_factory=dict)


def find_subject(team: Team, interaction: Interaction | None, episode: str = "") -> Subject:
    """Return what feedback is about. ``episode`` is the session as callers named it."""
    if interaction:
        return Subject(team, interaction, interaction.session_hash)
    return Subject(team, None, hash_text(find_rules(team).secret, "session", episode))


def check_feedback(subject: Subject, new: NewFeedback) -> Feedback.Kind:
    """Return the kind of the feedback. Raises ApiError for an unknown metric, or a value of another kind."""
    if new.metric in TEXTS:
        return _check_text(subject, new)
    metrics = list_metrics(find_rules(subject.team))
    if new.metric not in metrics:
        known = ", ".join([*metrics, *TEXTS])
        message = f"Unknown metric {new.metric!r}. The metrics are: {known}."
        raise ApiError(message, param="metric_name", code="unknown_metric")
    kind = Kind(metrics[new.metric])
    if kind == Kind.BOOLEAN and not isinstance(new.value, bool):
        raise _refuse_value(new.metric, "true or false")
    if kind == Kind.FLOAT and (isinstance(new.value, bool | str) or not isfinite(new.value)):
        raise _refuse_value(new.metric, "a number")
    return kind


def _check_text(subject: Subject, new: NewFeedback) -> Feedback.Kind:
    if not isinstance(new.value, str) or not new.value.strip():
        raise _refuse_value(new.metric, "a text")
    if len(new.value) > MOST_CHARACTERS:
        raise _refuse_value(new.metric, f"a text of at most {MOST_CHARACTERS:,} characters")
    if new.metric in CORRECTIONS and subject.interaction is None:
        message = f"{new.metric!r} is about one completion: send 'inference_id', not 'episode_id'."
        raise ApiError(message, param="episode_id", code="invalid_value")
    return Kind(new.metric)


def _refuse_value(metric: str, wanted: str) -> ApiError:
    return ApiError(f"The value of {metric!r} must be {wanted}.", param="value", code="invalid_value")


@transaction.atomic
def record_feedback(subject: Subject, actor: Actor, new: NewFeedback) -> Feedback:
    """Add feedback. Raises ApiError. Text is redacted first, with the placeholders of the session."""
    kind, rules = check_feedback(subject, new), find_rules(subject.team)
    actor_hash = hash_text(rules.secret, "actor", actor.source, actor.name)
    _lock(subject)
    text, tags = _redact(rules, subject.session_hash, new)
    cost = None
    if kind == Kind.EDIT and subject.interaction:
        cost = Levenshtein.normalized_distance(subject.interaction.completion_text, text)
    feedback = Feedback(
        team=subject.team, interaction=subject.interaction, kind=kind, metric=new.metric,
        session_hash="" if subject.interaction else subject.session_hash,
        number=None if isinstance(new.value, str) else float(new.value), text=text, cost=cost, tags=tags,
        source=actor.source, actor_hash=actor_hash, member=actor.member,
    )  # fmt: skip
    if kind != Kind.COMMENT:
        feedback.supersedes = _find_present(feedback)
    feedback.save()
    return feedback


def _lock(subject: Subject) -> None:
    """Two votes of one actor at once: the second one must see the first."""
    if subject.interaction:
        Interaction.objects.select_for_update().filter(pk=subject.interaction.pk).first()
    else:
        InteractionRules.objects.select_for_update().get(team=subject.team)


def _redact(rules: InteractionRules, session_hash: str, new: NewFeedback) -> tuple[str, dict[str, str]]:
    redactor, text = Redactor(rules), new.value if isinstance(new.value, str) else ""
    placeholders = allot_placeholders(rules, session_hash, redactor.collect([text, dict(new.tags)]))
    tags = {name: str(redactor.replace(value, placeholders)) for name, value in new.tags.items()}
    return str(redactor.replace(text, placeholders)), tags


def _find_present(feedback: Feedback) -> Feedback | None:
    """Return the feedback of the same actor and metric that counts until now."""
    same = {
        name: getattr(feedback, name)
        for name in ("team", "interaction", "session_hash", "actor_hash", "metric")
    }
    return select_present(Feedback.objects.filter(**same)).first()


def select_present(feedback: QuerySet[Feedback]) -> QuerySet[Feedback]:
    """Return the feedback that counts: what nobody superseded."""
    return feedback.filter(superseded_by=None)


def find_history(interaction: Interaction) -> QuerySet[Feedback]:
    """Return all feedback on the interaction and on its session, newest first."""
    about = Q(interaction=interaction) | Q(team=interaction.team, session_hash=interaction.session_hash)
    return Feedback.objects.filter(about).select_related("member", "superseded_by")


def find_references(interactions: QuerySet[Interaction]) -> dict[int, str]:
    """Return interaction -> the text of its latest demonstration or edit."""
    texts = select_present(Feedback.objects.filter(interaction__in=interactions, kind__in=CORRECTIONS))
    return dict(texts.order_by("pk").values_list("interaction_id", "text"))  # the last one wins
