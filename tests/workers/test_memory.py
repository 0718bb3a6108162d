"""The count of memory: the form, which knows a config, and the engine, which has the model, count alike."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from transformers import AutoModelForCausalLM

from workers.engine.memory import shape_of
from workers.memory import shape

STARTER = Path(__file__).parents[2] / "workers" / "starter" / "model"


def test_the_config_tells_the_same_shape_as_the_loaded_model() -> None:
    model = AutoModelForCausalLM.from_pretrained(STARTER, dtype="float32")
    config = SimpleNamespace(**json.loads((STARTER / "config.json").read_text()))
    assert shape(config, 4, sum(each.numel() for each in model.parameters())) == shape_of(model)
