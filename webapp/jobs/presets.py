"""Presets of the new-job form: a few settings changed together, and said in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

STANDARD_STEPS = 100
STEPS = "grpo__max_steps"
WORDS = {
    STEPS: "{} steps",
    "preflight__rows": "{} preflight rows",
    "evaluation__max_rows": "{} held-out rows",
    "evaluation__samples_per_row": "{} answers a row",
}


@dataclass(frozen=True)
class Preset:
    """``values`` maps form fields to what the preset puts into them."""

    key: str
    name: str
    purpose: str
    values: dict[str, int]

    @property
    def changes(self) -> str:
        """What it sets, in words."""
        return ", ".join(WORDS[name].format(f"{value:,}") for name, value in self.values.items())

    @property
    def as_json(self) -> str:
        return json.dumps(self.values)


def of(standard: dict[str, Any]) -> list[Preset]:
    """The presets around the settings that the form starts with, which are the base model's own."""
    usual = {name: int(standard[name]) if standard[name] else STANDARD_STEPS for name in WORDS}
    quick = usual | {
        STEPS: max(1, usual[STEPS] // 3),
        "preflight__rows": min(12, usual["preflight__rows"]),
        "evaluation__max_rows": max(1, usual["evaluation__max_rows"] // 4),
        "evaluation__samples_per_row": min(4, usual["evaluation__samples_per_row"]),
    }
    thorough = usual | {
        STEPS: 3 * usual[STEPS],
        "preflight__rows": max(48, usual["preflight__rows"]),
        "evaluation__max_rows": 2 * usual["evaluation__max_rows"],
        "evaluation__samples_per_row": max(16, usual["evaluation__samples_per_row"]),
    }
    return [
        Preset("quick", "Quick look", "Does the reward move at all?", quick),
        Preset("standard", "Standard", "The settings that this page starts with.", usual),
        Preset("thorough", "Thorough", "Longer, and measured more closely.", thorough),
    ]
