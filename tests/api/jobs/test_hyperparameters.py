"""Hyperparameters of the API: every one may be sent as "auto", or as null."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from webapp.jobs.api.schemas import Hyperparameters

NAMES = sorted(Hyperparameters.model_fields.keys() - {"reasoning_effort"})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["auto", None])
def test_a_hyperparameter_may_be_auto(name: str, value: str | None) -> None:
    assert getattr(Hyperparameters.model_validate({name: value}), name) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_value_out_of_bounds_is_named(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Hyperparameters.model_validate({name: -1})
    assert caught.value.errors()[0]["loc"] == (name,)
