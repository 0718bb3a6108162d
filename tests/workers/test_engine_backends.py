"""Which backend samples the rollouts, and that TRL knows the options it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from trl import GRPOConfig

from workers.engine import backends


@pytest.mark.parametrize("shares", [True, False])
def test_on_a_gpu_vllm_samples_when_it_is_installed_and_has_room_for_the_longest_answer(shares, tmp_path):
    options = backends.choose("cuda", shares, 640, vllm=True).options
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **options)
    assert (config.use_vllm, config.vllm_mode, config.vllm_enable_sleep_mode) == (True, "colocate", True)
    assert config.vllm_max_model_length == 640


@pytest.mark.parametrize(("device", "vllm"), [("cuda", False), ("cpu", False), ("cpu", True)])
def test_without_it_the_engines_own_decoder_samples_models_that_it_knows(device, vllm):
    chosen = backends.choose(device, True, 640, vllm)
    assert (chosen.message, chosen.options) == (backends.OWN, {})


def test_other_models_go_through_continuous_batching_on_a_gpu_and_generate_on_a_cpu(tmp_path: Path):
    options = backends.choose("cuda", False, 640, vllm=False).options
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **options)
    assert config.use_transformers_continuous_batching
    assert not config.use_vllm
    plain = backends.choose("cpu", False, 640, vllm=True)
    assert (plain.message, plain.options) == (backends.GENERATE, {})
