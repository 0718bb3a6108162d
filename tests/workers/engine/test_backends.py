"""The choice of the sampling backend, its options in TRL, and the GPU of a process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trl import GRPOConfig

from workers.engine.base_model import models
from workers.engine.sampling import backends


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_own_decoder_samples_models_that_it_knows(device):
    chosen = backends.choose_backend(device, True)
    assert (chosen.message, chosen.options) == (backends.OWN, {})


def test_other_models_go_through_continuous_batching_on_a_gpu_and_generate_on_a_cpu(tmp_path: Path):
    options = backends.choose_backend("cuda", False).options
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **options)
    assert config.use_transformers_continuous_batching
    plain = backends.choose_backend("cpu", False)
    assert (plain.message, plain.options) == (backends.GENERATE, {})


@pytest.mark.parametrize("shares", [True, False])
def test_no_choice_merges_the_adapter_into_the_base_at_every_step(shares, tmp_path: Path):
    for device in ("cuda", "cpu"):
        options = backends.choose_backend(device, shares).options
        assert not GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **options).use_vllm


def test_a_process_on_the_second_machine_takes_a_gpu_of_its_own_machine(monkeypatch: pytest.MonkeyPatch):
    """Rank 5 of two machines with four GPUs each is the second process there."""
    taken: list[int] = []
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert models.pick_device("cuda") == torch.device("cuda", 1)
    assert taken == [1]
