"""Small random models of many families, built from their configs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.workers.engine_jobs import SPECIAL, TEMPLATE, WORDS, tiny_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": len(SPECIAL) + len(WORDS), "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1,
}  # fmt: skip
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
}  # fmt: skip
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
LINEAR = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
STATE = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 16}
GPT2 = {
    "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "vocab_size": SIZES["vocab_size"],
    "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip

DENSE: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma3_text": {"sliding_window": 16},
    "mistral": {},
    "ministral3": {},
    "gemma": {},
    "gemma2": {},
    "phi": {},
    "phi3": {},
    "gpt2": GPT2,
    "gpt_bigcode": GPT2,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {},
    "falcon": {},
    "mpt": {},
    "starcoder2": {},
    "stablelm": {},
    "olmo2": {},
    "olmo3": {},
    "cohere": {},
    "cohere2": {},
    "granite": {},
    "smollm3": {},
    "glm4": {},
    "exaone4": {},
    "nemotron": {},
    "seed_oss": {},
    "hunyuan_v1_dense": {},
    "apertus": {},
    "ernie4_5": {},
}
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {},
    "qwen2_moe": {},
    "qwen3_moe": {},
    "olmoe": {},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "gpt_oss": {},
    "granitemoe": {},
    "phimoe": {},
    "glm4_moe": {},
    "ernie4_5_moe": {},
    "hunyuan_v1_moe": {},
    "jetmoe": {},
    "minimax_m2": {},
    "llama4_text": {"intermediate_size_mlp": 64},
}
RECURRENT: dict[str, dict[str, Any]] = {
    "qwen3_5_text": LINEAR,
    "qwen3_next": LINEAR | EXPERTS,
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "falcon_h1": STATE | {"mamba_d_ssm": 64},
    "granitemoehybrid": STATE | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 32},
    "mamba": {},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 16},
    "rwkv": {},
}
NO_HEAD_DIM = {"falcon", *(name for name in DENSE if DENSE[name] is GPT2)}
SYSTEM_REFUSED = {"gemma", "gemma2", "gemma3_text", "mixtral", "phi"}
"""Families whose published chat templates refuse a system message; their trial's template does so, too."""

REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
)
FAMILIES = DENSE | MIXTURES | RECURRENT


def build(family: str, folder: Path) -> Any:
    """Write a model of ``family`` and its tokenizer to ``folder``; return the model's config."""
    torch.manual_seed(0)
    sizes = SIZES | (EXPERTS if family in MIXTURES else {}) | FAMILIES[family]
    if family in NO_HEAD_DIM:
        sizes = {name: value for name, value in sizes.items() if name != "head_dim"}
    if FAMILIES[family] is GPT2:
        sizes = GPT2
    config = AutoConfig.for_model(family, **sizes)
    model = AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.1)  # of families that start near zero, too, layers shall do something
    model.generation_config.eos_token_id = [1, 2]
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    if family in SYSTEM_REFUSED:
        tokenizer.chat_template = REFUSES_SYSTEM + TEMPLATE
    tokenizer.save_pretrained(folder)
    return config
