"""Kept interactions, their feedback, and the rules of a team about both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Upper
from django.urls import reverse
from encrypted_fields.fields import EncryptedTextField

from webapp.core.fields import PublicIdField
from webapp.datasets.content.turns import render_content
from webapp.datasets.models import DatasetVersion
from webapp.deployments.models import Deployment, ServedVersion, WrittenOnce
from webapp.interactions.hashing import SECRET_BYTES, create_secret
from webapp.interactions.redaction.recognizers import KINDS
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team, User

if TYPE_CHECKING:
    from workers.contract.json_types import JsonObject

HASH = 2 * SECRET_BYTES  # hexadecimal digits


class Consent(models.TextChoices):
    """What may be done with an interaction. Each includes what is before it."""

    NONE = "none", "Keep nothing"
    KEEP = "keep", "Keep, do not train"
    TRAIN = "train", "Keep and train"


class ConsentRule(models.TextChoices):
    """Who decides whether an interaction may train a model."""

    NONE = "none", "Nobody: nothing trains"
    OPT_IN = "opt_in", "The caller: trains with metadata consent “train”"
    CONTRACT = "contract", "A contract: trains unless metadata says otherwise"


class Split(models.TextChoices):
    """What an interaction is for. Decided by its session, so that no session is in two splits."""

    TRAIN = "train", "Train"
    FRESH = "fresh", "Fresh: compares models on prompts that nobody trained on"
    AUDIT = "audit", "Audit: a random sample for people"
    SEEN = "seen", "Seen before: was fresh until its prompt went into a dataset"


def list_kinds() -> list[str]:
    """Return every kind of personal data that Groove recognizes."""
    return list(KINDS)


class InteractionRules(models.Model):
    """A team's rules. ``version`` grows with each change; interactions name the version they were kept by."""

    team = models.OneToOneField(Team, models.CASCADE, related_name="interaction_rules")
    secret = EncryptedTextField(default=create_secret, help_text="key of the hashes of people and sessions")
    consent_rule = models.CharField(max_length=10, choices=ConsentRule.choices, default=ConsentRule.OPT_IN)
    retention_days = models.PositiveIntegerField(default=30)
    kinds = ArrayField(models.CharField(max_length=20), default=list_kinds, help_text="redacted")
    phone_region = models.CharField(max_length=2, blank=True, help_text="of numbers without a country code")
    patterns: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(
        default=dict, help_text="name -> regular expression, redacted too"
    )
    metrics: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(
        default=dict, help_text="name -> boolean or float"
    )
    version = models.PositiveIntegerField(default=1)

    def __str__(self) -> str:
        return f"rules of {self.team}, version {self.version}"


class Interaction(models.Model):
    """A request and its completion, redacted, with what answered and how."""

    uid = PublicIdField("chatcmpl-")
    team = models.ForeignKey(Team, models.CASCADE, related_name="interactions")
    key_user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", help_text="of the key")
    deployment = models.ForeignKey(Deployment, models.CASCADE, null=True, related_name="interactions")
    version = models.ForeignKey(ServedVersion, models.PROTECT, null=True, related_name="interactions")
    model = models.CharField(max_length=200, help_text="as the caller named it")
    base_model = models.ForeignKey(BaseModel, models.SET_NULL, null=True, related_name="interactions")
    tuned_model = models.ForeignKey(TunedModel, models.SET_NULL, null=True, related_name="interactions")
    adapter_sha256 = models.CharField(max_length=64, blank=True, help_text="that the model server used")
    verified = models.BooleanField(help_text="the adapter that answered is the one that was asked")
    fingerprint = models.CharField(max_length=80, blank=True, help_text="system_fingerprint")
    session_hash = models.CharField(max_length=HASH)
    subject_hash = models.CharField(max_length=HASH, blank=True, help_text="of the field user; empty: none")
    messages: models.JSONField[list[JsonObject], list[JsonObject]] = models.JSONField(help_text="redacted")
    completion: models.JSONField[JsonObject, JsonObject] = models.JSONField(help_text="a message, redacted")
    search_text = models.TextField(help_text="beginnings of the last message and the completion, redacted")
    prompt_digest = models.CharField(max_length=32, help_text="of the redacted prompt")
    params: models.JSONField[JsonObject, JsonObject] = models.JSONField(default=dict)
    prompt_ids = ArrayField(models.IntegerField(), default=list, help_text="empty if text was redacted")
    completion_ids = ArrayField(models.IntegerField(), default=list, help_text="empty if text was redacted")
    logp_sampled = models.BinaryField(help_text="float16, of the distribution sampled from")
    logp_model = models.BinaryField(help_text="float16, of the model")
    propensity_ok = models.BooleanField(default=False, help_text="logp_sampled may weigh samples")
    finish = models.CharField(max_length=20)
    usage: models.JSONField[JsonObject, JsonObject] = models.JSONField(default=dict)
    latency_ms = models.PositiveIntegerField()
    metadata: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(default=dict)
    consent = models.CharField(max_length=10, choices=Consent.choices)
    split = models.CharField(max_length=10, choices=Split.choices)
    redactor = models.CharField(max_length=40, help_text="version of the recognizers and of the rules")
    idempotency_key = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(verified=True) | ~models.Q(consent="train"),
                name="only_verified_interactions_train",
            ),
            models.CheckConstraint(condition=~models.Q(consent="none"), name="no_consent_no_content"),
            models.UniqueConstraint(
                fields=["team", "model", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="one_interaction_per_idempotency_key",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["team", "-id"], name="interactions_of_team"),
            models.Index(fields=["team", "session_hash"], name="interactions_of_session"),
            models.Index(fields=["team", "subject_hash"], name="interactions_of_subject"),
            models.Index(fields=["team", "model", "-id"], name="interactions_of_model"),
            GinIndex(OpClass("metadata", name="jsonb_path_ops"), name="interactions_by_metadata"),
            GinIndex(OpClass(Upper("search_text"), name="gin_trgm_ops"), name="interactions_by_text"),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    def get_absolute_url(self) -> str:
        return reverse("interactions:detail", args=[self.team.slug, self.uid])

    @property
    def completion_text(self) -> str:
        """The text of the completion; empty for tool calls alone."""
        return render_content(self.completion.get("content"))


class Feedback(WrittenOnce):
    """Someone's view of an interaction, or of a session. The latest one of an actor and metric counts."""

    class Kind(models.TextChoices):
        BOOLEAN = "boolean"
        FLOAT = "float"
        COMMENT = "comment"
        DEMONSTRATION = "demonstration"
        EDIT = "edit"

    class Source(models.TextChoices):
        API = "api", "API"
        END_USER = "end_user", "End user"
        MEMBER = "member", "Team member"

    uid = PublicIdField("fb_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="feedback")
    interaction = models.ForeignKey(Interaction, models.CASCADE, null=True, related_name="feedback")
    session_hash = models.CharField(max_length=HASH, blank=True, help_text="of an episode")
    kind = models.CharField(max_length=15, choices=Kind.choices)
    metric = models.CharField(max_length=64)
    number = models.FloatField(null=True, help_text="of a metric; a boolean is 0 or 1")
    text = models.TextField(blank=True, help_text="redacted")
    cost = models.FloatField(null=True, help_text="of an edit: Levenshtein distance by the longer length")
    source = models.CharField(max_length=10, choices=Source.choices)
    actor_hash = models.CharField(max_length=HASH)
    member = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", help_text="of the team")
    tags: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(default=dict)
    supersedes = models.OneToOneField("self", models.CASCADE, null=True, related_name="superseded_by")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(interaction=None) ^ models.Q(session_hash=""), name="feedback_on_one_thing"
            ),
            models.UniqueConstraint(
                fields=["interaction", "session_hash", "actor_hash", "metric"],
                condition=models.Q(supersedes=None) & ~models.Q(kind="comment"),
                nulls_distinct=False,
                name="one_first_vote_per_actor_and_metric",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["team", "session_hash"], name="feedback_of_session")]

    def __str__(self) -> str:
        return f"{self.metric} {self.uid}"

    @property
    def value(self) -> Any:
        """The value as it was sent: a boolean, a number or a text."""
        if self.kind == self.Kind.BOOLEAN:
            return bool(self.number)
        return self.number if self.kind == self.Kind.FLOAT else self.text


class Placeholder(models.Model):
    """Which placeholder stands for a value in a session. The value itself is stored as a hash only."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    session_hash = models.CharField(max_length=HASH)
    kind = models.CharField(max_length=40)
    value_hash = models.CharField(max_length=HASH)
    number = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["team", "session_hash", "kind", "number"], name="a_placeholder_has_one_value"
            ),
            models.UniqueConstraint(
                fields=["team", "session_hash", "kind", "value_hash"], name="a_value_has_one_placeholder"
            ),
        ]

    def __str__(self) -> str:
        return f"<{self.kind}_{self.number}>"


class DatasetCopy(models.Model):
    """An interaction that was copied into a dataset version: erasure must know where text went."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    version = models.ForeignKey(DatasetVersion, models.CASCADE, related_name="+")
    interaction_uid = models.CharField(max_length=64)
    subject_hash = models.CharField(max_length=HASH, blank=True)
    prompt_digest = models.CharField(max_length=32)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["team", "prompt_digest"], name="copies_of_prompt"),
            models.Index(fields=["team", "subject_hash"], name="copies_of_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.interaction_uid} in {self.version}"
