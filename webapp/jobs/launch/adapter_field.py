"""The field of the new-job form for the adapter that training continues from."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet

from webapp.registry.models import TunedModel
from webapp.teams.models import Team

LISTED = 50  # adapters in the list; any other is chosen on its own page


def find_adapters(team: Team) -> QuerySet[TunedModel]:
    """Return the team's adapters that a job can continue from, the newest first."""
    return TunedModel.objects.alive().filter(team=team).select_related("base_model").order_by("-id")


def build_field(adapters: QuerySet[TunedModel], initial: TunedModel | None, data: Any) -> Any:
    """Return a field that takes any of the adapters; it lists the newest, and the one that is chosen."""
    field = forms.ModelChoiceField(
        adapters,
        to_field_name="uid",
        required=False,
        label="Start from",
        initial=initial,
        help_text="A tuned model of the team or an uploaded adapter: training goes on from it, with its "
        "rank, alpha and layers, and it is what the result is compared with.",
    )
    listed = dict(adapters[: LISTED + 1].values_list("uid", "name"))
    if len(listed) > LISTED:
        listed.popitem()
        field.help_text += (
            f" The newest {LISTED} are listed; for another, find it under Models and press Continue training."
        )
    chosen = str(data.get("initial_adapter", "")) if data else initial.uid if initial else ""
    if chosen and chosen not in listed:
        listed |= dict(adapters.filter(uid=chosen).values_list("uid", "name"))
    if initial and initial.deleted_at:
        field.help_text += f" {initial}, where the other job started, was deleted; restore it to start there."
    field.choices = [("", "the base model"), *listed.items()]
    return field
