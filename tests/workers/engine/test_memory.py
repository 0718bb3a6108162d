"""The count of memory: the form, which knows a config, and the engine, which has the model, count alike."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoModelForCausalLM

from workers.contract.memory import Work, cpu_tokens, estimate, shape
from workers.engine.memory import shape_of

STARTER = Path(__file__).parents[3] / "workers" / "starter" / "model"


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


@pytest.mark.parametrize(
    ("sizes", "parameters", "tokens", "measured"),
    [
        ({"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
          "num_key_value_heads": 3}, 134_515_008, (512, 64), 2624),
        ({"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 15,
          "num_key_value_heads": 5}, 361_821_120, (384, 48), 3914),
    ],
    ids=["135M", "360M"],
)  # fmt: skip
def test_the_estimate_is_near_what_jobs_were_measured_to_need(
    sizes: dict[str, int], parameters: int, tokens: tuple[int, int], measured: int
) -> None:
    """Peaks in MiB of whole processes on a CPU, one group of 4, at full lengths; goal: within 15 %."""
    config = SimpleNamespace(**sizes, head_dim=64, vocab_size=49152)
    work = Work(tokens[0], tokens[1], rollouts=4, group_size=4)
    counted = estimate(shape(config, 4, parameters), 16, work, cpu_tokens(work), checkpointing=False)
    assert counted.total / 2**20 == pytest.approx(measured, rel=0.15)
