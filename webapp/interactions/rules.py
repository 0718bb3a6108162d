"""A team's rules about interactions: read, change, decide consent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Least

from webapp.interactions.models import Consent, ConsentRule, Interaction, InteractionRules
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

THUMB = "thumb"
_ORDER = [Consent.NONE, Consent.KEEP, Consent.TRAIN]
_DEFAULT = {
    ConsentRule.NONE: Consent.KEEP,
    ConsentRule.OPT_IN: Consent.KEEP,
    ConsentRule.CONTRACT: Consent.TRAIN,
}
CHANGED_BY_FORM = ("consent_rule", "retention_days", "kinds", "phone_region", "patterns", "metrics")


def find_rules(team: Team) -> InteractionRules:
    """Return the team's rules; the first call creates them."""
    rules = InteractionRules.objects.filter(team=team).first()
    return rules or InteractionRules.objects.get_or_create(team=team)[0]


@transaction.atomic
def change_rules(team: Team, user: User, values: Mapping[str, Any]) -> InteractionRules:
    """Save new rules. A shorter retention also shortens that of kept interactions; a longer one does not."""
    find_rules(team)
    rules = InteractionRules.objects.select_for_update().get(team=team)
    changed = [name for name in CHANGED_BY_FORM if getattr(rules, name) != values[name]]
    if not changed:
        return rules
    for name in changed:
        setattr(rules, name, values[name])
        record_event(team, user, "set rule of interactions", f"{name.replace('_', ' ')}: {values[name]}")
    rules.version += 1
    rules.save()
    if "retention_days" in changed:
        shorter = F("created_at") + timedelta(days=rules.retention_days)
        Interaction.objects.filter(team=team).update(expires_at=Least(F("expires_at"), shorter))
    return rules


def decide_consent(rules: InteractionRules, metadata: Mapping[str, str], verified: bool) -> Consent:
    """Return the consent to an interaction, by the team's rule and the caller's ``metadata["consent"]``."""
    rule = ConsentRule(rules.consent_rule)
    stated = metadata.get("consent")
    if stated is None:
        consent = _DEFAULT[rule]
    else:
        consent = Consent(stated) if stated in Consent.values else Consent.KEEP
    may_train = verified and rule != ConsentRule.NONE
    return consent if may_train else narrow_consent(consent, Consent.KEEP)


def narrow_consent(present: str, wanted: str) -> Consent:
    """Return the narrower of two consents: consent is never widened afterwards."""
    return min(Consent(present), Consent(wanted), key=_ORDER.index)


def list_metrics(rules: InteractionRules) -> dict[str, str]:
    """Return the metrics of feedback, name -> ``boolean`` or ``float``."""
    return {THUMB: "boolean", **rules.metrics}
