"""Placeholders of a session: the same value has the same placeholder in all its interactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from django.db import connection

from webapp.interactions.hashing import hash_text
from webapp.interactions.models import InteractionRules, Placeholder
from webapp.interactions.redaction.patterns import TIMEOUT_KIND
from webapp.interactions.redaction.redactor import Value


def allot_placeholders(
    rules: InteractionRules, session_hash: str, values: Sequence[Value]
) -> dict[Value, str]:
    """Return a placeholder for each value. New values of the session get the next numbers.

    Call it in a transaction.
    """
    hashes = {
        value: hash_text(rules.secret, "value", session_hash, *value)
        for value in values
        if value[0] != TIMEOUT_KIND
    }
    if not hashes:
        return {}
    _lock_session(session_hash)
    session = {"team_id": rules.team_id, "session_hash": session_hash}
    numbers = {(each.kind, each.value_hash): each.number for each in Placeholder.objects.filter(**session)}
    last = Counter(kind for kind, _ in numbers)
    new = []
    for (kind, _), value_hash in hashes.items():
        if (kind, value_hash) not in numbers:
            last[kind] += 1
            numbers[kind, value_hash] = last[kind]
            new.append(Placeholder(**session, kind=kind, value_hash=value_hash, number=last[kind]))
    Placeholder.objects.bulk_create(new)
    return {value: f"<{value[0].upper()}_{numbers[value[0], text]}>" for value, text in hashes.items()}


def _lock_session(session_hash: str) -> None:
    """Wait for other writes of the session, until the end of this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", [int(session_hash[:15], 16)])
