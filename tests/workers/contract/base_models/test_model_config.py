"""Sizes of a model are read from its config whatever its family calls them."""

from __future__ import annotations

import pytest
from transformers import (
    FalconConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen3Config,
)

from workers.contract.base_models import model_config

CASES = [
    (LlamaConfig(num_hidden_layers=3, hidden_size=64, num_attention_heads=8, num_key_value_heads=2,
                 intermediate_size=96), (3, 64, 8, 2, 96), True, False),
    (Qwen3Config(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, num_key_value_heads=4,
                 intermediate_size=48), (2, 32, 4, 4, 48), True, False),
    (Gemma3TextConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, num_key_value_heads=1,
                      intermediate_size=40), (2, 32, 4, 1, 40), True, False),
    (GPT2Config(n_layer=5, n_embd=48, n_head=6), (5, 48, 6, 6, 192), False, False),
    (GPT2Config(n_layer=5, n_embd=48, n_head=6, n_inner=100), (5, 48, 6, 6, 100), False, False),
    (OPTConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, ffn_dim=72),
     (2, 32, 4, 4, 72), False, False),
    (GPTNeoXConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, intermediate_size=64),
     (2, 32, 4, 4, 64), True, False),
    (FalconConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, multi_query=True),
     (2, 32, 4, 1, 128), False, False),
    (MixtralConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, num_key_value_heads=2,
                   intermediate_size=64, num_local_experts=4), (2, 32, 4, 2, 64), True, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "sizes", "gated", "mixture"), CASES, ids=lambda value: getattr(value, "model_type", "")
)
def test_sizes_of_a_family(
    config: PretrainedConfig, sizes: tuple[int, ...], gated: bool, mixture: bool
) -> None:
    heads = model_config.require(config, "heads")
    found = (
        model_config.require(config, "layers"),
        model_config.require(config, "hidden"),
        heads,
        model_config.key_heads(config, heads),
        model_config.intermediate(config),
    )
    assert found == sizes
    assert (model_config.is_gated(config), model_config.is_mixture(config)) == (gated, mixture)


def test_a_config_without_a_size_says_which_names_were_tried() -> None:
    with pytest.raises(AttributeError, match="num_hidden_layers, n_layer"):
        model_config.require(object(), "layers")
    assert model_config.find(object(), "context") is None
