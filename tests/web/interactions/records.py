"""Requests that were answered, as the gateway records them."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from webapp.interactions.models import Interaction
from webapp.interactions.services import InteractionRecord, record_interaction
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team


def make_record(team: Team, **changes: Any) -> InteractionRecord:
    """A request to the starter model; ``prompt`` and ``text`` are short for its message and completion."""
    prompt, text = changes.pop("prompt", "What is due?"), changes.pop("text", "12 EUR")
    values: dict[str, Any] = {
        "team": team, "key_user": None, "deployment": None, "model": "groove/starter",
        "base_model": ensure_starter_model(), "tuned_model": None, "adapter_sha256": "",
        "messages": [{"role": "user", "content": prompt}], "params": {"temperature": 0.7, "seed": 4},
        "prompt_ids": [1, 2, 3], "completion": {"role": "assistant", "content": text},
        "completion_ids": [4, 5], "logp_sampled": [-0.5, -1.0], "logp_model": [-0.25, -2.0],
        "propensity_ok": True, "finish": "stop", "latency_ms": 40, "metadata": {}, "user": "",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, "created": timezone.now(),
    }  # fmt: skip
    return InteractionRecord(**values | changes)


def keep(team: Team, **changes: Any) -> Interaction:
    """Record such a request."""
    interaction = record_interaction(make_record(team, **changes))
    assert interaction is not None
    return interaction


def rows_as_text() -> str:
    """Every row of the app's tables as text: what somebody with a copy of the database reads."""
    from django.apps import apps

    tables = apps.get_app_config("interactions").get_models()
    return "\n".join(str(list(model._default_manager.values())) for model in tables)
