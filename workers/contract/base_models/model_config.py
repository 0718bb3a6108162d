"""Fields of a model's ``config.json``, whose names differ by family: the standard library only."""

from __future__ import annotations

from typing import Any, Final

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "key_heads": ("num_key_value_heads", "num_kv_heads"),
    "intermediate": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "context": ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
}
"""Meaning -> its names in all families."""

USUAL_WIDENING: Final = 4  # feed-forward width by hidden size, if a config leaves it out


def find(config: Any, meaning: str) -> int | None:
    """Return the number that ``config``, an object with attributes, has for a key of ``ALIASES``."""
    values = (getattr(config, name, None) for name in ALIASES[meaning])
    return next((value for value in values if isinstance(value, int)), None)


def require(config: Any, meaning: str) -> int:
    """Return the same number. Raises ``AttributeError`` if the config has none."""
    if (value := find(config, meaning)) is None:
        raise AttributeError(f"the config has none of {', '.join(ALIASES[meaning])}")
    return value


def intermediate(config: Any) -> int:
    """Return the width of a feed-forward layer; GPT-2 leaves it out if it is four times the hidden size."""
    return find(config, "intermediate") or USUAL_WIDENING * require(config, "hidden")


def is_gated(config: Any) -> bool:
    """Return True if a feed-forward layer has three matrices (gate, up, down) instead of two."""
    return isinstance(getattr(config, "intermediate_size", None), int)


def key_heads(config: Any, heads: int) -> int:
    """Return the heads of keys and values. ``multi_query`` of GPT-BigCode and Falcon means one."""
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1
    return find(config, "key_heads") or heads


def is_mixture(config: Any) -> bool:
    """Return True if layers have several experts of which a token uses some."""
    return (find(config, "experts") or 0) > 1
