"""The count of memory: the form, which knows a config, and the engine, which has the model, count alike."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from transformers import AutoModelForCausalLM

from workers.engine.memory import shape_of
from workers.memory import Work, estimate, shape

STARTER = Path(__file__).parents[2] / "workers" / "starter" / "model"


def test_the_config_tells_the_same_shape_as_the_loaded_model() -> None:
    model = AutoModelForCausalLM.from_pretrained(STARTER, dtype="float32")
    config = SimpleNamespace(**json.loads((STARTER / "config.json").read_text()))
    assert shape(config, 4, sum(each.numel() for each in model.parameters())) == shape_of(model)


def test_the_process_itself_is_part_of_what_a_job_needs() -> None:
    config = SimpleNamespace(**json.loads((STARTER / "config.json").read_text()))
    work = Work(prompt_tokens=64, completion_tokens=16, rollouts=8, group_size=8)
    counted = estimate(shape(config, 4, 1_830_976), 16, work, 512, checkpointing=False)
    assert counted.process == 500 * 2**20
    assert counted.total > counted.process + counted.weights
