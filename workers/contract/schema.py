"""Base class of the models in a job spec."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A model that never changes once written and refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
