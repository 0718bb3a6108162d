"""Keyed hashes of people, sessions and values: without a team's key nobody can compute or compare them."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256

SECRET_BYTES = 32
AUDIT_SHARE, FRESH_SHARE = 0.05, 0.20


def create_secret() -> str:
    """Return a new key of a team."""
    return secrets.token_hex(SECRET_BYTES)


def hash_text(secret: str, purpose: str, *texts: str) -> str:
    """Return the HMAC-SHA256 of the texts, 64 hexadecimal digits. Purposes never share hashes."""
    message = "\0".join((purpose, *texts))
    return hmac.new(bytes.fromhex(secret), message.encode(), sha256).hexdigest()


def choose_split(secret: str, session_hash: str) -> str:
    """Return ``audit``, ``fresh`` or ``train``: the same for every interaction of a session."""
    share = int(hash_text(secret, "split", session_hash)[:13], 16) / 16**13
    if share < AUDIT_SHARE:
        return "audit"
    return "fresh" if share < AUDIT_SHARE + FRESH_SHARE else "train"
