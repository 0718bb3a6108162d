"""Links from the items of an import to what they became."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from webapp.datasets.models import DatasetVersion
from webapp.graders.models import GraderVersion
from webapp.remote_imports.models import ImportedItem, RemoteImport
from webapp.teams.models import Team
from workers.contract.json_types import JsonObject


@dataclass(frozen=True)
class ItemLinks:
    """An item with what it became. ``launch_url`` opens the new-job form with its settings."""

    item: ImportedItem
    dataset: DatasetVersion | None
    grader: GraderVersion | None
    launch_url: str


def list_items(found: RemoteImport) -> list[ItemLinks]:
    """Return the finished items with their links."""
    items = found.report.items
    versions = DatasetVersion.objects.filter(dataset__team=found.team).select_related("dataset__team")
    datasets = {each.uid: each for each in versions.filter(uid__in=[item.dataset for item in items])}
    graders = {
        each.uid: each
        for each in GraderVersion.objects.filter(
            grader__team=found.team, uid__in=[item.grader for item in items]
        ).select_related("grader__team")
    }
    return [
        ItemLinks(
            item, datasets.get(item.dataset), graders.get(item.grader), build_launch_url(found.team, item)
        )
        for item in items
    ]


def build_launch_url(team: Team, item: ImportedItem) -> str:
    """Return the new-job form's URL with the item's choices; empty for a file, or without settings."""
    if item.kind != "job" or not (item.dataset and item.grader):
        return ""
    choices = {"dataset": item.dataset, "grader": item.grader, "base": item.base}
    query = {name: value for name, value in choices.items() if value} | flatten(item.settings)
    return f"{reverse('jobs:new', args=[team.slug])}?{urlencode(query)}"


def flatten(settings: JsonObject) -> dict[str, str]:
    """Return settings by the names of the form's fields, such as ``grpo__epochs``."""
    flat: dict[str, str] = {}
    for section, values in settings.items():
        if isinstance(values, Mapping):
            flat |= {f"{section}__{name}": json.dumps(value) for name, value in values.items()}
        else:
            flat[section] = json.dumps(values)
    return flat
