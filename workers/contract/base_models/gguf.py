"""Models that can be written as GGUF, by their ``config.json`` and ``tokenizer.json`` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from workers.contract.base_models import sentence_pieces

ARCHITECTURES: Final = {
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "LlamaForCausalLM": "llama",
    "Gemma3ForCausalLM": "gemma3",
}
"""Class in ``config.json`` -> architecture in GGUF, for those whose tensors Groove can write."""

CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPLIT: Final = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS: Final = {SPLIT % r"\p{N}": "qwen2", SPLIT % r"\p{N}{1,3}": "llama-bpe"}
"""Patterns by which llama.cpp splits text before byte-pair encoding -> ``tokenizer.ggml.pre``."""

UNKNOWN_SPLIT: Final = (
    "Its tokenizer splits text in a way that llama.cpp has no name for, so llama.cpp would feed the model "
    "other tokens than it was trained on. Export merged safetensors instead."
)


def find_model_refusal(config: Mapping[str, Any], tokenizer: Mapping[str, Any] | None) -> str | None:
    """Return why a model cannot be written as one GGUF file; None if it can."""
    if refusal := _find_architecture_refusal(config):
        return refusal
    if ARCHITECTURES[config["architectures"][0]] == "gemma3":
        return (
            "Gemma 3's SentencePiece vocabulary cannot be written as GGUF here. Export the adapter as GGUF "
            "and load it over a GGUF of the base."
        )
    if (rope := rope_parameters(config)).get("rope_type", "default") != "default":
        return (
            f"Its rotary embedding is of type {rope['rope_type']!r}, which cannot be checked after writing."
        )
    if config.get("model_type") != "qwen2" and (config.get("attention_bias") or config.get("mlp_bias")):
        return "Its layers have biases, which GGUF readers of this architecture ignore."
    if config.get("use_sliding_window"):
        return "It attends within a sliding window, which GGUF readers of this architecture ignore."
    if tokenizer is None:
        return "It has no tokenizer.json, from which the vocabulary is read."
    return None if is_splitting_known(tokenizer) else UNKNOWN_SPLIT


def find_adapter_refusal(config: Mapping[str, Any], tokenizer: Mapping[str, Any] | None) -> str | None:
    """Return why an adapter cannot be written as GGUF, or the GGUF of its base cannot be made."""
    if refusal := _find_architecture_refusal(config):
        return refusal
    if (
        tokenizer is None
        or ARCHITECTURES[config["architectures"][0]] == "gemma3"
        or is_splitting_known(tokenizer)
    ):
        return None
    return f"It needs a GGUF of the base, which cannot be made. {UNKNOWN_SPLIT}"


def _find_architecture_refusal(config: Mapping[str, Any]) -> str | None:
    name = (config.get("architectures") or ["unknown"])[0]
    if name not in ARCHITECTURES:
        return f"The architecture {name} cannot be written as GGUF here; {', '.join(ARCHITECTURES)} can."
    return None


def is_splitting_known(tokenizer: Mapping[str, Any]) -> bool:
    """Return True if llama.cpp can split text as this ``tokenizer.json`` does."""
    return pre_type(tokenizer) is not None or sentence_pieces.compute_scores(tokenizer) is not None


def rope_parameters(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``{rope_theta, rope_type, ...}`` of either generation of ``config.json``."""
    older = config.get("rope_scaling") or {}
    older = {
        "rope_theta": config.get("rope_theta", 10000.0),
        "rope_type": older.get("type", "default"),
    } | older
    found: Mapping[str, Any] = config.get("rope_parameters") or older
    return found


def pre_type(tokenizer: Mapping[str, Any]) -> str | None:
    """Return llama.cpp's name for the splitting of this ``tokenizer.json``; None if it has no equal one.

    llama.cpp's converter recognises a tokenizer by a hash of its result on a test text, so it does not know
    new vocabularies with a known splitting. Here the rules themselves are compared.
    """
    model, normalizer = tokenizer["model"], tokenizer.get("normalizer")
    if (
        model.get("type") != "BPE"
        or model.get("byte_fallback")
        or (normalizer or {"type": "NFC"})["type"] != "NFC"
    ):
        return None
    name = _split_name(tokenizer.get("pre_tokenizer") or {})
    whole_words_first = bool(model.get("ignore_merges"))
    return name if whole_words_first == (name == "llama-bpe") else None


def _split_name(pre_tokenizer: Mapping[str, Any]) -> str | None:
    if pre_tokenizer.get("type") == "ByteLevel":
        plain = pre_tokenizer.get("use_regex", True) and not pre_tokenizer.get("add_prefix_space")
        return "gpt-2" if plain else None
    steps = pre_tokenizer.get("pretokenizers", [])
    kinds = [step["type"] for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm" if _split_name(steps[1]) == "gpt-2" else None
    if kinds != ["Split", "ByteLevel"]:
        return None
    split, level = steps
    if level.get("use_regex") or level.get("add_prefix_space") or split["invert"]:
        return None
    return PATTERNS.get(split["pattern"].get("Regex", "")) if split["behavior"] == "Isolated" else None
