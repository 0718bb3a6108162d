"""The part of a model's page about calling it by API."""

from __future__ import annotations

from typing import Any

from django import template

from webapp.registry.models import TunedModel
from webapp.serving.example_calls import write_calls
from webapp.serving.presenters import find_status

register = template.Library()


@register.inclusion_tag("serving/model.html", takes_context=True)
def call_by_api(context: dict[str, Any], model: TunedModel) -> dict[str, object]:
    """Show the state of the model's server, and commands that call it."""
    url = context["request"].build_absolute_uri("/v1")
    return {
        "model": model,
        "team": context["team"],
        "status": find_status(model.base_model),
        **write_calls(url, model.name),
    }
