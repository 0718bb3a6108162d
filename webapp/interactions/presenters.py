"""Template contexts of an interaction's page."""

from __future__ import annotations

from webapp.graders.definitions.references import Expected, RowReference
from webapp.interactions import erasure, feedback
from webapp.interactions.models import Interaction
from webapp.interactions.rules import THUMB
from webapp.teams.models import User
from workers.contract.json_types import JsonValue

HIDDEN_SETTINGS = ("tools", "format_sha256")


def build_detail_context(interaction: Interaction, user: User) -> dict[str, object]:
    """Return what ``interactions/detail.html`` shows, except the form."""
    history = list(feedback.find_history(interaction))
    mine = [each for each in history if each.member == user and not hasattr(each, "superseded_by")]
    correction = feedback.find_references(Interaction.objects.filter(pk=interaction.pk)).get(interaction.pk)
    subject = interaction.subject_hash
    return {
        "interaction": interaction,
        "calls": [interaction.completion],
        "history": history,
        "thumb": next((each.value for each in mine if each.metric == THUMB), None),
        "correction": correction,
        "reference": RowReference(Expected("correction", correction) if correction else None),
        "settings": _list_settings(interaction.params),
        "metadata": list(interaction.metadata.items()),
        "copies": erasure.find_copies(interaction.team, subject) if subject else [],
    }


def _list_settings(params: dict[str, JsonValue]) -> list[tuple[str, JsonValue]]:
    """Return the sampling settings by the names that requests use."""
    return [(name, value) for name, value in params.items() if name not in HIDDEN_SETTINGS]
