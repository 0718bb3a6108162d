"""Count what keys use of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from django.db.models import F
from django.db.models.functions import Greatest

from webapp.serving.models import Usage


@dataclass(frozen=True)
class UsageKey:
    """The row of ``Usage`` that a request counts in."""

    team_id: int
    key_id: int | None  # None: the playground
    model: str
    day: date


@dataclass(frozen=True)
class Use:
    """Requests for a model, added up. ``errors`` had no complete answer."""

    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    milliseconds: int
    slowest_milliseconds: int

    def __add__(self, other: Use) -> Use:
        return Use(
            self.requests + other.requests,
            self.errors + other.errors,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.milliseconds + other.milliseconds,
            max(self.slowest_milliseconds, other.slowest_milliseconds),
        )


def record_uses(uses: Mapping[UsageKey, Use]) -> None:
    """Add the uses to their rows."""
    for key, use in uses.items():
        row: dict[str, object] = {
            "team_id": key.team_id,
            "key_id": key.key_id,
            "model": key.model,
            "day": key.day,
        }
        if not _add(row, use):
            Usage.objects.bulk_create([Usage(**row)], ignore_conflicts=True)  # another process may be first
            _add(row, use)


def _add(row: dict[str, object], use: Use) -> bool:
    return bool(
        Usage.objects.filter(**row).update(
            requests=F("requests") + use.requests,
            errors=F("errors") + use.errors,
            prompt_tokens=F("prompt_tokens") + use.prompt_tokens,
            completion_tokens=F("completion_tokens") + use.completion_tokens,
            milliseconds=F("milliseconds") + use.milliseconds,
            slowest_milliseconds=Greatest(F("slowest_milliseconds"), use.slowest_milliseconds),
        )
    )
