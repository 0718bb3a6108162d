"""Presets of the new-job form: a few settings changed together, and described in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

STEPS = "grpo__max_steps"
WORDS = {
    STEPS: "{} steps",
    "preflight__rows": "{} preflight rows",
    "evaluation__max_rows": "{} held-out rows",
    "evaluation__samples_per_row": "{} answers a row",
}


@dataclass(frozen=True)
class Preset:
    """``values`` maps form fields to what the preset puts into them; ``steps`` are None where not known."""

    key: str
    name: str
    purpose: str
    values: dict[str, int | None]
    steps: int | None

    @property
    def changes(self) -> str:
        """Describe what the preset sets."""
        values = {**self.values, STEPS: self.steps}
        return ", ".join(
            words.format(f"{values[name]:,}") for name, words in WORDS.items() if values[name] is not None
        )

    @property
    def as_json(self) -> str:
        return json.dumps(self.values)


def build_presets(standard: dict[str, Any], epochs: int | None) -> list[Preset]:
    """Build the presets around the settings that a base model recommends.

    ``epochs`` is the number of steps that the epochs take; it counts where no steps are stated.
    """
    usual = {name: standard[name] for name in WORDS}
    steps = usual[STEPS] or epochs
    quick = usual | {
        STEPS: max(1, steps // 3) if steps else None,
        "preflight__rows": min(12, usual["preflight__rows"]),
        "evaluation__max_rows": max(1, usual["evaluation__max_rows"] // 4),
        "evaluation__samples_per_row": min(4, usual["evaluation__samples_per_row"]),
    }
    thorough = usual | {
        STEPS: 3 * steps if steps else None,
        "preflight__rows": max(48, usual["preflight__rows"]),
        "evaluation__max_rows": 2 * usual["evaluation__max_rows"],
        "evaluation__samples_per_row": max(16, usual["evaluation__samples_per_row"]),
    }
    return [
        Preset("quick", "Quick look", "Does the reward move at all?", quick, quick[STEPS]),
        Preset("standard", "Standard", "What the base model recommends.", usual, steps),
        Preset("thorough", "Thorough", "Longer, and measured more closely.", thorough, thorough[STEPS]),
    ]
