"""Rows made of stored completions, the team's interactions.

A run holds their ids only, and its graded rows vanish with the interactions, so that erasure reaches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet

from webapp.core.api.metadata import filter_by_metadata
from webapp.evals.data_sources import STORED, Source
from webapp.evals.models import Eval, EvalRun
from webapp.interactions.models import Interaction
from workers.contract.json_types import JsonObject

REFERENCE = "interaction"
ITEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "input": {"type": "array"},
        "id": {"type": "string"},
        "model": {"type": "string"},
        "metadata": {"type": "object"},
    },
    "required": ["input", "id", "model", "metadata"],
}


def list_references(found: Eval, source: Source, most: int) -> list[JsonObject]:
    """Return references to the newest completions that the eval and the source select, at most ``most``."""
    selected = _select(found, source).order_by("-pk")[: min(source.limit or most, most)]
    return [{REFERENCE: uid} for uid in selected.values_list("uid", flat=True)]


def _select(found: Eval, source: Source) -> QuerySet[Interaction]:
    """Answers of another adapter than the one that was asked count nowhere."""
    selected = Interaction.objects.filter(team=found.team, verified=True)
    selected = filter_by_metadata(selected, found.filters | (source.metadata or {}))
    if source.model:
        selected = selected.filter(model=source.model)
    if source.created_after is not None:
        selected = selected.filter(created_at__gt=datetime.fromtimestamp(source.created_after, UTC))
    if source.created_before is not None:
        selected = selected.filter(created_at__lt=datetime.fromtimestamp(source.created_before, UTC))
    return selected


def load_rows(run: EvalRun, rows: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the rows with completions for references. A row whose completion was deleted has no sample.

    Only a run of stored completions has references: rows of files name what their author likes.
    """
    source: Any = run.data_source["source"]
    if source["type"] != STORED:
        return [{"item": row["item"], "sample": row.get("sample")} for row in rows]
    uids = [str(row[REFERENCE]) for row in rows]
    kept = {each.uid: each for each in Interaction.objects.filter(team=run.team, uid__in=uids)}
    return [_load(kept, uid) for uid in uids]


def _load(kept: dict[str, Interaction], uid: str) -> JsonObject:
    interaction = kept.get(uid)
    if interaction is None:
        return {"item": {"id": uid}, "deleted": True}
    item: Any = {
        "input": interaction.messages,
        "id": uid,
        "model": interaction.model,
        "metadata": interaction.metadata,
    }
    sample: JsonObject = {"output_text": interaction.completion_text, "model": interaction.model}
    return {"item": item, "sample": sample, REFERENCE: uid}


def lock_interactions(uids: Sequence[str]) -> set[str]:
    """Return those of the ids that still exist, which nobody deletes before the transaction ends."""
    found = Interaction.objects.select_for_update(no_key=True).filter(uid__in=uids).order_by("pk")
    return {each.uid for each in found.only("uid")}
